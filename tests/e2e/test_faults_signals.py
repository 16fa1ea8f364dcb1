"""Hard signals of the candidate, as Kubernetes gives them: docs/faults.md, part 7. None waits for a deadline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.crash_runs import Lane
from harness.end_state import LABEL_RELEASE, LABEL_REVISION
from harness.load_run import LoadRun
from harness.podinfo import NAME, PodinfoOptions, changed
from harness.stories import PodinfoUpgrade
from harness.waiting import wait_for_objects

#: Far below every deadline of the release.
SOON_SECONDS = 75.0
#: A full quota is given the grace of pods that go, and then the candidate's own pods take theirs.
AFTER_GRACE_SECONDS = 150.0
PATIENCE_SECONDS = 150.0
CONTAINER = "components__0__template__spec__containers__0"
FOREVER = PodinfoOptions(replicas=2, soak="60m", window="10s", bring_up="10m", verify="10m")
QUOTA = "no-more-pods"

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def made(podinfo_lane: Lane[PodinfoUpgrade]) -> Iterator[Lane[PodinfoUpgrade]]:
    """Each test upgrades from where the one before ended, without its quota."""
    usual, namespace = podinfo_lane.story.options, podinfo_lane.story.namespace
    podinfo_lane.story.set_out()
    yield podinfo_lane
    podinfo_lane.story.options = usual
    podinfo_lane.kube.delete("ResourceQuota", QUOTA, namespace)
    podinfo_lane.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


def users_of(made: Lane[PodinfoUpgrade]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="fault-users")


def no_more_pods(made: Lane[PodinfoUpgrade]) -> None:
    """A quota that looks at more than a template, so that preflight leaves it to the API server."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA},
        "spec": {"hard": {"pods": "1"}, "scopes": ["NotBestEffort"]},
    }
    made.kube.apply_all([quota], namespace=made.story.namespace)
    wait_for_objects(
        made.kube, "ResourceQuota", made.story.namespace,
        lambda items: bool(items and (items[0].get("status") or {}).get("used")), what="the quota counted",
    )  # fmt: skip


def test_a_container_whose_secret_is_not_there_is_refused(made: Lane[PodinfoUpgrade]) -> None:
    story = made.story
    missing = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "k"}}}
    with users_of(made) as users:
        story.release.apply(changed(story.spec(story.version), **{f"{CONTAINER}__env": [missing]}))
        told = story.release.wait_upgrade(story.version, outcomes=("Refused",), deadline_seconds=SOON_SECONDS)
        summary = users.stop()
    assert told.reason == "ContainerCannotStart"
    assert f"container {NAME} of pod" in told.message
    assert "no-such-secret" in told.message
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {story.before.version}


def test_pods_that_the_api_server_does_not_take_are_refused(made: Lane[PodinfoUpgrade]) -> None:
    story = made.story
    no_more_pods(made)
    with users_of(made) as users:
        story.ask()
        told = story.release.wait_upgrade(story.version, outcomes=("Refused",), deadline_seconds=SOON_SECONDS)
        summary = users.stop()
    assert told.reason == "PodsRefused"
    assert f"exceeded quota: {QUOTA}" in told.message
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {story.before.version}


def test_a_candidate_that_cannot_be_made_whole_again_is_gone_back_from(made: Lane[PodinfoUpgrade]) -> None:
    story = made.story
    story.options = FOREVER
    story.ask()
    status = story.release.wait_shed(deadline_seconds=PATIENCE_SECONDS)["status"]
    no_more_pods(made)
    labels = f"{LABEL_RELEASE}={NAME},{LABEL_REVISION}={status['candidateRevision']}"
    (pod, *_) = made.kube.objects("Pod", story.namespace, labels=labels)
    with users_of(made) as users:
        users.wait_version(story.version, deadline_seconds=60)
        made.kube.delete("Pod", pod["metadata"]["name"], story.namespace)
        told = story.release.wait_upgrade(
            story.version, outcomes=("RolledBack",), deadline_seconds=AFTER_GRACE_SECONDS
        )
        users.wait_version(story.before.version, deadline_seconds=60, only=True)
        users.stop()
    assert told.reason == "PodsRefused"
    assert f"exceeded quota: {QUOTA}" in told.message
