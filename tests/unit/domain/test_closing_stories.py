"""Closing: only silence that was observed on every losing pod lets the old colour go."""

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import Story, installed

from conductor.api.reasons import Reason
from conductor.api.status import Phase


def closing(noise: float | None) -> Story:
    story = installed(spec("1.0.0"))
    story.noise = noise
    story.apply(spec("1.1.0"))
    return story.until(Phase.CLOSING)


@pytest.mark.parametrize(
    ("noise", "words"),
    [(0.2, "of 1.0.0 still answers users"), (None, "silence is not proven")],
)
def test_the_old_colour_stays_while_a_pod_of_it_answers_or_is_not_measured(
    noise: float | None, words: str
) -> None:
    story = closing(noise).long_after(minutes=30)
    assert story.status.reason == Reason.PROVING_SILENCE
    assert words in story.status.message
    assert story.deployments()["api/1.0.0"] == 3

    story.noise = 0.0
    story.settled()
    assert story.deployments()["api/1.0.0"] == 0


def test_a_pod_that_is_terminating_and_still_answers_is_a_losing_pod_too() -> None:
    story = closing(0.0)
    story.noise = 1.0
    story.wait(5)

    assert story.status.phase is Phase.CLOSING
    assert story.deployments()["api/1.0.0"] == 3
