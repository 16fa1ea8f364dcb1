"""A HorizontalPodAutoscaler of somebody else's writes the replicas of the same Deployments: docs/faults.md, part 3.

The autoscaler and its controller are real. There is no metrics server, so that of its two powers it has one: it holds
a Deployment between `minReplicas` and `maxReplicas`, and looks every 15 s whether somebody took it out of there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.crash_runs import Lane
from harness.end_state import LABEL_RELEASE, LABEL_REVISION
from harness.load_run import LoadRun
from harness.podinfo import NAME, PodinfoOptions
from harness.stories import PodinfoUpgrade
from harness.waiting import wait_for_object, wait_for_objects

KIND = "HorizontalPodAutoscaler"
#: The controller looks every 15 s; pods of podinfo are ready within a few.
HELD_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
FOREVER = PodinfoOptions(replicas=2, soak="60m", window="10s", bring_up="10m", verify="10m")

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def made(podinfo_lane: Lane[PodinfoUpgrade]) -> Iterator[Lane[PodinfoUpgrade]]:
    """Each test upgrades from where the one before ended, without its autoscaler."""
    usual, namespace = podinfo_lane.story.options, podinfo_lane.story.namespace
    podinfo_lane.story.set_out()
    yield podinfo_lane
    podinfo_lane.story.options = usual
    for scaler in podinfo_lane.kube.objects(KIND, namespace):
        podinfo_lane.kube.delete(KIND, scaler["metadata"]["name"], namespace)
    podinfo_lane.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


def users_of(made: Lane[PodinfoUpgrade]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="fault-users")


def deployment(made: Lane[PodinfoUpgrade], revision: str) -> str:
    (found,) = wait_for_objects(
        made.kube, "Deployment", made.story.namespace, lambda items: len(items) == 1,
        labels=f"{LABEL_RELEASE}={NAME},{LABEL_REVISION}={revision}", what=f"the Deployment of {revision}",
    )  # fmt: skip
    return str(found["metadata"]["name"])


def autoscale(made: Lane[PodinfoUpgrade], name: str, least: int, most: int) -> None:
    """An autoscaler of that Deployment, or other bounds for the one that there is."""
    made.kube.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": KIND,
            "metadata": {"name": name, "namespace": made.story.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": least,
                "maxReplicas": most,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 60},
                        },
                    }
                ],
            },
        }
    )


def wait_replicas(made: Lane[PodinfoUpgrade], name: str, replicas: int) -> None:
    wait_for_object(
        made.kube, "Deployment", name, made.story.namespace,
        lambda item: item["spec"]["replicas"] == replicas
        and item["status"].get("readyReplicas", 0) == replicas,
        what=f"{replicas} ready replicas", deadline_seconds=HELD_SECONDS,
    )  # fmt: skip


def test_one_that_holds_what_serves_holds_up_no_upgrade(made: Lane[PodinfoUpgrade]) -> None:
    """It takes back each surge that shedding makes: an upgrade that takes longer, and loses nobody."""
    story = made.story
    blue = deployment(made, story.before.revision)
    autoscale(made, blue, 3, 3)
    wait_replicas(made, blue, 3)
    with users_of(made) as users:
        story.ask()
        ended = story.release.wait_upgrade(
            story.version, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS
        )
        users.wait_version(story.version, deadline_seconds=60, only=True)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert ended.outcome == "Succeeded"
    green = deployment(made, story.release.status()["activeRevision"])
    wait_replicas(made, green, 3)
    # Kubernetes leaves a Deployment that was scaled to nothing alone: what is drained stays so.
    wait_replicas(made, blue, 0)
    wait_for_object(
        made.kube, KIND, blue, story.namespace,
        lambda item: any(
            (each["type"], each["status"], each.get("reason"))
            == ("ScalingActive", "False", "ScalingDisabled")
            for each in item["status"].get("conditions") or []
        ),
        what="to see that nothing is to be scaled any more", deadline_seconds=HELD_SECONDS,
    )  # fmt: skip


def test_the_standby_follows_what_one_makes_of_the_candidate(made: Lane[PodinfoUpgrade]) -> None:
    story = made.story
    story.options = FOREVER
    with users_of(made) as users:
        story.ask()
        item = story.release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
        size = story.options.replicas
        green = deployment(made, item["status"]["candidateRevision"])
        blue = deployment(made, story.before.revision)
        was = made.kube.need("Deployment", green, story.namespace)["spec"]["replicas"]
        assert was >= size
        autoscale(made, green, was + 2, was + 4)
        wait_replicas(made, green, was + 2)
        wait_replicas(made, blue, was + 2)
        story.release.command("rollback")
        story.release.wait_upgrade(story.version, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(story.before.version, deadline_seconds=60, only=True)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    wait_replicas(made, blue, was + 2)
