"""Upgrades with `consistency: Strict`: the second component is called by the colour of the pod that calls it."""

from typing import Any

from tests.unit.domain.plane import Json, pair, strictly
from tests.unit.domain.rollouts.planes import Tale, Told, health
from tests.unit.domain.story import BAD, Story, checkpoint, installed

from conductor.api.status import Phase

HEADING = "Within one colour"


def strict(version: str, **more: Any) -> Json:
    """Users come in by mc-front, which calls mc-back of its own colour."""
    return pair(version, **{"fronts": 2, "traffic": strictly(), **more})


def strict_upgraded() -> Told:
    """Two components with one edge: Services of the colour before its pods, the edge first, all as one effect."""
    story = installed(strict("1.0.0")).begin("1.0.0 is at rest, its fronts call mc-back-blue")
    story.apply(strict("1.1.0"))
    return story.settled()


def strict_taken_back() -> Told:
    """The way back in the soak: one edge moves users, and what is behind the losing edge goes once that has gone."""

    def tell() -> Story:
        story = installed(strict("1.0.0"))
        story.apply(strict("1.1.0", soak="30s"))
        return story.until(Phase.SOAKING)

    story = checkpoint("strict soaking", tell).begin("all users are on 1.1.0")
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    return story.settled()


def strict_asked_for() -> Told:
    """The first upgrade after Strict was asked for: pods of the old version know no colour, and that is said."""
    story = installed(pair("1.0.0", by_colour=False, fronts=2)).begin(
        "1.0.0 is at rest, its fronts call mc-back"
    )
    story.apply(strict("1.1.0"))
    return story.settled()


TALES: tuple[Tale, ...] = (strict_upgraded, strict_taken_back, strict_asked_for)
