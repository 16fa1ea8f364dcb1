"""Passes count previews: each one once, by what came of it."""

import pytest
from tests.unit.domain.plane import by_route
from tests.unit.domain.rollouts.by_route import STEPS, behind_a_route, reapplied
from tests.unit.domain.story import Story
from tests.unit.domain.test_preview_stories import COOKIE, previewing
from tests.unit.runtime.test_receipt_passes import Operator

from conductor.api.status import Phase
from conductor.runtime import metrics

pytestmark = pytest.mark.story


def counted() -> tuple[float, float]:
    return by_outcome("offered"), by_outcome("left_out")


def by_outcome(outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("mc_previews_total", {"outcome": outcome}) or 0


def more(before: tuple[float, float]) -> tuple[float, float]:
    offered, left_out = counted()
    return offered - before[0], left_out - before[1]


def passes(story: Story, operator: Operator, times: int = 6) -> None:
    for _ in range(times):
        operator.run()
        story.machinery.settle()


def test_one_that_is_put_back_counts_once_and_then_as_left_out() -> None:
    story = behind_a_route()
    story.apply(previewing("1.1.0"))
    story.until(Phase.VERIFYING)
    # In its own time, in which no deadline is over.
    operator, before = Operator(story, lambda: story.now), counted()
    passes(story, operator)
    assert story.status.upgrade is not None
    assert story.status.upgrade.previewed == 1
    assert more(before) == (1, 0)
    for _ in range(2):
        reapplied(story)
        passes(story, operator)
    assert story.status.upgrade.previewed == 3
    assert more(before) == (1, 0)
    reapplied(story)
    passes(story, operator)
    assert more(before) == (1, 1)
    story.change(traffic=by_route(ramp=STEPS, preview=COOKIE))
    passes(story, operator)
    assert more(before) == (2, 1)


def test_nothing_is_counted_where_none_is_asked_for() -> None:
    story = behind_a_route()
    story.apply(previewing("1.1.0", preview=None))
    story.until(Phase.VERIFYING)
    before = counted()
    passes(story, Operator(story, lambda: story.now))
    assert more(before) == (0, 0)
