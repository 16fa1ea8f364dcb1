"""Whole upgrades as readable logs. `UPDATE_GOLDEN=1` writes them anew; read the difference then."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import (
    api_component,
    gateway_component,
    migrations,
    spec,
    traffic,
    worker_component,
)
from tests.unit.domain.story import BAD, SLOW, Story, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

GOLDEN = Path(__file__).parent / "golden"


def bootstrap() -> Story:
    return Story(spec("1.0.0")).settled()


def upgrade() -> Story:
    """Two components with users, a worker, a database and a ramp: everything that an upgrade can have."""

    def plane(version: str) -> dict[str, object]:
        components = [api_component(version), gateway_component(version), worker_component(version)]
        ramp = traffic(ramp=[{"weight": 25, "hold": "5s"}, {"weight": 50, "hold": "5s"}])
        return spec(version, components=components, traffic=ramp, migrations=migrations(version))

    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    return story.settled()


def refused_by_the_verdict() -> Story:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = BAD
    story.apply(spec("1.1.0"))
    return story.settled()


def refused_for_its_image() -> Story:
    story = installed(spec("1.0.0"))
    story.machinery.behaviours["localhost/mc:1.1.0"] = Behaviour(waiting="ImagePullBackOff")
    story.apply(spec("1.1.0"))
    return story.settled()


def rolled_back_in_the_soak() -> Story:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING).wait(4)
    story.health["1.1.0"] = SLOW
    return story.settled()


def rolled_back_while_closing() -> Story:
    """The old colour is at zero pods already: it comes up again before traffic moves."""
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(lambda: story.deployments().get("api/1.1.0") == 3 and story.deployments()["api/1.0.0"] == 0)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    return story.settled()


def expand_failed() -> Story:
    story = installed(spec("1.0.0", migrations=migrations("1.0.0")))
    story.machinery.jobs["expand"] = [
        {"state": "failed", "message": "lock timeout", "mend": "end the long query"}
    ]
    story.apply(spec("1.1.0", migrations=migrations("1.1.0")))
    return story.settled()


def superseded() -> Story:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    story.apply(spec("1.2.0"))
    return story.settled()


def taken_by_somebody_else() -> Story:
    story = installed(spec("1.0.0"))
    for _ in range(3):
        change = {"spec": {"selector": {names.LABEL_REVISION: None, "app": "mc"}}}
        story.kube.edit("Service", "prod", "mc-api", change)
        story.wait(3)
    assert story.status.reason == Reason.TRAFFIC_REVERTED
    return story


TOLD: tuple[Callable[[], Story], ...] = (
    bootstrap,
    upgrade,
    refused_by_the_verdict,
    refused_for_its_image,
    rolled_back_in_the_soak,
    rolled_back_while_closing,
    expand_failed,
    superseded,
    taken_by_somebody_else,
)


@pytest.mark.parametrize("tell", TOLD, ids=lambda tell: tell.__name__)
def test_what_happens_is_what_was_written_down(tell: Callable[[], Story]) -> None:
    log = "\n".join(tell().log) + "\n"
    path = GOLDEN / f"{tell.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(log, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == log
