"""Closing: only silence that was observed on every losing pod lets the old colour go."""

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import NAMESPACE, Story, installed

from conductor.api import names
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


def losing_pods(story: Story) -> set[str]:
    return {
        pod["metadata"]["name"]
        for pod in story.kube.list("Pod", NAMESPACE)
        if story.version(pod["metadata"]["labels"].get(names.LABEL_REVISION, "")) == "1.0.0"
    }


def test_a_losing_pod_on_a_dead_node_is_waited_for_and_then_named_with_the_command() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.CLOSING)
    lost = min(losing_pods(story))
    story.machinery.unending = {lost}
    story.wait(60)
    assert (story.status.phase, story.status.reason) == (Phase.CLOSING, Reason.DRAINING)
    assert story.condition("Stalled")[0] == "False", "a pod may take its time"
    story.long_after(minutes=3)

    assert story.condition("Stalled") == ("True", Reason.DRAINING)
    command = f"kubectl delete pod -n {NAMESPACE} --force --grace-period=0 {lost}"
    assert command in story.status.message
    before = len(story.kube.writes)
    story.long_after(minutes=10)
    assert len(story.kube.writes) == before, "it is said once"

    story.kube.drop("Pod", NAMESPACE, lost)
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert story.condition("Stalled")[0] == "False"


def test_what_a_rollback_leaves_on_a_dead_node_is_named_too() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)
    lost = next(
        pod["metadata"]["name"]
        for pod in story.kube.list("Pod", NAMESPACE)
        if pod["metadata"]["name"] not in losing_pods(story)
    )
    story.machinery.unending = {lost}
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.long_after(minutes=5)

    assert story.serving() == {"1.0.0"}
    assert story.condition("Stalled") == ("True", Reason.DRAINING)
    assert f"--force --grace-period=0 {lost}" in story.status.message
