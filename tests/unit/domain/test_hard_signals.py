"""Hard signals: what ends an upgrade within seconds without a word of Prometheus, and what does not."""

import copy
from datetime import timedelta

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import Json, api_component, spec, traffic
from tests.unit.domain.story import BROKEN, NAMESPACE, SILENT, Story, checkpoint, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase

IMAGE = "localhost/mc:1.1.0"
QUOTA = 'pods "mc-api-green-x" is forbidden: exceeded quota: one-colour'
NO_ANSWER = 'Internal error occurred: failed calling webhook "policy.example.org": connection refused'
#: Behaviour, reason, words with the container or the object and the mend, and the patience that it has.
SIGNALS: dict[str, tuple[Behaviour, Reason, tuple[str, ...], int]] = {
    "image": (
        Behaviour(waiting="ImagePullBackOff"),
        Reason.IMAGE_UNAVAILABLE,
        (f"{IMAGE} cannot be pulled for container api of pod mc-api-green-", "push the image"),
        30,
    ),
    "image name": (
        Behaviour(waiting="InvalidImageName"),
        Reason.IMAGE_UNAVAILABLE,
        ("cannot be pulled for container api of pod mc-api-green-", "correct its name"),
        0,
    ),
    "configuration": (
        Behaviour(waiting="CreateContainerConfigError"),
        Reason.CANNOT_START,
        (
            "container api of pod mc-api-green-",
            "CreateContainerConfigError: as scripted",
            "create the Secret",
        ),
        30,
    ),
    "memory": (
        Behaviour(ready=False, restarts=2, died_of="OOMKilled"),
        Reason.OUT_OF_MEMORY,
        ("container api of pod mc-api-green-", "resources.limits.memory", "raise the limit"),
        0,
    ),
    "memory, backing off": (
        Behaviour(waiting="CrashLoopBackOff", restarts=1, died_of="OOMKilled"),
        Reason.OUT_OF_MEMORY,
        ("OOMKilled", "raise the limit"),
        0,
    ),
    "crashes": (
        Behaviour(waiting="CrashLoopBackOff", restarts=2, died_of="Error"),
        Reason.CRASH_LOOPING,
        ("container api of pod mc-api-green-", "-c api --previous"),
        0,
    ),
    "no node": (
        Behaviour(unschedulable="0/3 nodes are available: 3 Insufficient cpu."),
        Reason.UNSCHEDULABLE,
        ("pod mc-api-green-", "fits no node", "free or add capacity"),
        30,
    ),
    "evicted": (
        Behaviour(evicted="Evicted"),
        Reason.PODS_EVICTED,
        (
            "pods were ended by their nodes, the last one mc-api-green-",
            "(Evicted: as scripted)",
            "relieve the nodes",
        ),
        0,
    ),
    "refused": (
        Behaviour(refused=QUOTA),
        Reason.PODS_REFUSED,
        ("no pod of Deployment mc-api-green-", "exceeded quota: one-colour", "mend the quota"),
        15,
    ),
}
SIGNALS["refused by nobody"] = (
    Behaviour(refused=NO_ANSWER),
    Reason.PODS_REFUSED,
    ("connection refused",),
    60,
)
#: What is seen of pods only once they are made again.
_NEED_NEW_PODS = {"refused", "refused by nobody"}
#: Of pods that ask for none of their own.
GRACE_SECONDS = 35
RAMP = traffic(ramp=[{"weight": 50, "hold": "5m"}])


def plane(version: str) -> Json:
    return spec(version, soak="10m", traffic=RAMP, deadlines={"bringUp": "1h", "verify": "1h", "ramp": "1h"})


def upgrading(phase: Phase) -> Story:
    def tell() -> Story:
        story = installed(plane("1.0.0"))
        story.apply(plane("1.1.0"))
        if phase is Phase.VERIFYING:
            story.health["1.1.0"] = SILENT
        story.until(phase)
        if phase is Phase.RAMPING:
            story.until(lambda: story.upgrade.step_at is not None and story.upgrade.took_traffic)
        return story.begin()

    if phase is Phase.SOAKING:
        return _soaking()
    return checkpoint(f"hard signals {phase}", tell)


def _soaking() -> Story:
    def tell() -> Story:
        quick = traffic(ramp=[{"weight": 50, "hold": "1s"}])
        story = installed(plane("1.0.0"))
        story.apply({**plane("1.1.0"), "traffic": quick})
        return story.until(Phase.SOAKING).until(Reason.SOAKING).wait(2).begin()

    return checkpoint("hard signals Soaking", tell)


def befalls(story: Story, signal: str) -> tuple[Reason, tuple[str, ...], int]:
    """From now on that is what becomes of the candidate's pods. Prometheus is away, as if it had to be asked."""
    behaviour, reason, words, patience = SIGNALS[signal]
    story.machinery.behaviours[IMAGE] = behaviour
    story.health["1.1.0"] = BROKEN
    if signal in _NEED_NEW_PODS and story.status.phase is not Phase.PREFLIGHT:
        [pod, *_] = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COLOUR}=green")
        story.kube.drop("Pod", NAMESPACE, pod["metadata"]["name"])
    return reason, words, patience


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_candidate_that_does_not_come_up_is_refused_within_its_patience(signal: str) -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(Phase.PREFLIGHT)
    reason, words, patience = befalls(story, signal)
    story.until(Phase.BRINGING_UP)
    begun = story.now
    story.until(Phase.BACKING_OUT)

    assert story.now - begun <= timedelta(seconds=patience + 5)
    failure = story.upgrade.failure
    assert failure is not None
    assert (failure.reason, failure.outcome) == (reason, Outcome.REFUSED)
    assert [word for word in words if word not in failure.message] == []
    story.settled()
    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize("phase", [Phase.VERIFYING, Phase.RAMPING, Phase.SOAKING])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_candidate_that_fails_later_is_gone_back_from(signal: str, phase: Phase) -> None:
    story = upgrading(phase)
    users = phase is not Phase.VERIFYING
    reason, _, patience = befalls(story, signal)
    begun = story.now
    story.until(Phase.ROLLING_BACK if users else Phase.BACKING_OUT)

    # With users, what a quota refuses is given the time that pods on their way out may hold it.
    grace = GRACE_SECONDS if users and signal == "refused" else 0
    assert story.now - begun <= timedelta(seconds=patience + grace + 5)
    failure = story.upgrade.failure
    assert failure is not None
    # Before a patience ends half of the pods may be gone, or our own requests have failed: no slower a signal.
    assert failure.reason in {reason, Reason.READINESS_LOST if users else Reason.UNHEALTHY}
    story.settled()
    assert story.serving() == {"1.0.0"}
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is (Outcome.ROLLED_BACK if users else Outcome.REFUSED)


@pytest.mark.parametrize("signal", [name for name, found in SIGNALS.items() if found[3]])
def test_what_passes_within_its_patience_ends_nothing(signal: str) -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(Phase.PREFLIGHT)
    _, _, patience = befalls(story, signal)
    story.until(Phase.BRINGING_UP).wait(patience - 5)
    story.machinery.behaviours.clear()
    story.health.clear()
    story.until(Phase.RAMPING)


@pytest.mark.parametrize(
    "once",
    [
        Behaviour(ready=False, restarts=1, died_of="OOMKilled"),
        Behaviour(ready=False, restarts=2, died_of="Error"),
    ],
)
def test_a_container_that_ended_once_or_twice_is_given_time(once: Behaviour) -> None:
    story = installed(plane("1.0.0"))
    story.machinery.behaviours[IMAGE] = once
    story.apply(plane("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(60)

    assert story.status.phase is Phase.BRINGING_UP


def test_an_image_is_not_to_blame_for_a_pod_that_waited_for_its_node() -> None:
    """Its first pull fails once, long after the pod was made."""
    story = installed(plane("1.0.0"))
    story.machinery.behaviours[IMAGE] = Behaviour(unschedulable="no node yet")
    story.apply(plane("1.1.0") | {"surge": {"nodes": "OnDemand"}})
    story.until(Phase.BRINGING_UP).wait(60)
    placed = story.now
    story.machinery.behaviours[IMAGE] = Behaviour(waiting="ErrImagePull", placed_at=placed)
    story.wait(20)
    assert story.status.phase is Phase.BRINGING_UP
    story.until(Phase.BACKING_OUT)
    assert story.upgrade.failure is not None
    assert story.upgrade.failure.reason == Reason.IMAGE_UNAVAILABLE


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [("ErrImagePull", Reason.IMAGE_UNAVAILABLE), ("CreateContainerError", Reason.CANNOT_START)],
)
@pytest.mark.parametrize("told", [True, False])
def test_what_fails_once_after_a_long_first_pull_is_tried_again(
    waiting: str, reason: Reason, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = installed(plane("1.0.0"))
    if not told:
        # An Event may come a little after the status that it explains.
        monkeypatch.setattr("tests.unit.domain.machinery.failed", lambda *_: None)
    story.machinery.behaviours[IMAGE] = Behaviour(waiting=waiting, pulls_for=timedelta(seconds=45))
    story.apply(plane("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(65)
    assert story.status.phase is Phase.BRINGING_UP

    monkeypatch.undo()
    failing = copy.deepcopy(story)
    story.machinery.behaviours.clear()
    story.until(Phase.RAMPING)
    failing.until(Phase.BACKING_OUT)
    assert failing.upgrade.failure is not None
    assert failing.upgrade.failure.reason == reason
    assert failing.now - story.entered[-1][0] < timedelta(seconds=100)


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("CreateContainerError", Reason.CANNOT_START),
        ("CreateContainerConfigError", Reason.CANNOT_START),
        ("ErrImagePull", Reason.IMAGE_UNAVAILABLE),
    ],
)
def test_a_container_that_has_run_has_the_same_patience_to_start_again(waiting: str, reason: Reason) -> None:
    """It ends once, and a Secret is rotated or a registry is busy just then: its pod has its node for long."""
    story = installed(plane("1.0.0"))
    story.machinery.behaviours[IMAGE] = Behaviour(ready=False)
    story.apply(plane("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(60)
    ended = Behaviour(waiting=waiting, restarts=1, died_of="Error", ended_at=story.now)
    story.machinery.behaviours[IMAGE] = ended
    story.wait(20)
    assert story.status.phase is Phase.BRINGING_UP
    story.until(Phase.BACKING_OUT)
    assert story.upgrade.failure is not None
    assert story.upgrade.failure.reason == reason


@pytest.mark.parametrize("signal", ["image", "no node", "refused"])
def test_no_room_to_grow_takes_nobody_back(signal: str) -> None:
    """As many pods serve as are asked for; what an autoscaler wants beyond that finds no place."""
    story = _soaking()
    serving = {
        pod["metadata"]["name"] for pod in story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COLOUR}=green")
    }
    story.machinery.stays_ready |= serving
    story.machinery.behaviours[IMAGE] = SIGNALS[signal][0]
    [green] = [d for d in story.kube.list("Deployment", NAMESPACE) if "-green-" in d["metadata"]["name"]]
    assert green["spec"]["replicas"] == 3
    story.kube.edit("Deployment", NAMESPACE, green["metadata"]["name"], {"spec": {"replicas": 4}})
    story.wait(90)
    assert story.status.phase is Phase.SOAKING

    # One that is asked for is lost on top of it.
    story.machinery.stays_ready.discard(min(serving))
    story.kube.drop("Pod", NAMESPACE, min(serving))
    story.until(Phase.ROLLING_BACK)
    assert story.upgrade.failure is not None
    assert story.upgrade.failure.reason == SIGNALS[signal][1]


def drained(colour: str = "green") -> tuple[Story, str]:
    """One of that colour's pods is told to go, and a quota takes no other before it has gone."""
    story = _soaking()
    story.machinery.behaviours[IMAGE] = Behaviour(refused=QUOTA)
    pods = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COLOUR}={colour}")
    name: str = pods[0]["metadata"]["name"]
    story.machinery.unending.add(name)
    until = (story.now + timedelta(seconds=GRACE_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    story.kube.edit("Pod", NAMESPACE, name, {"metadata": {"deletionTimestamp": until}})
    return story, name


@pytest.mark.parametrize("seconds", [5, 25])
def test_a_quota_that_a_drained_pod_still_fills_takes_nobody_back(seconds: int) -> None:
    story, name = drained()
    story.wait(seconds)
    story.kube.drop("Pod", NAMESPACE, name)
    # Its place was free a moment ago: the Deployment still says that the last try was refused.
    story.wait(12)
    assert story.status.phase is Phase.SOAKING

    story.machinery.behaviours.clear()
    story.wait(60)
    assert story.status.phase is Phase.SOAKING
    assert story.deployments()["api/1.1.0"] == 3


def test_a_quota_that_stays_full_takes_users_back_once_nothing_can_free_it() -> None:
    story, name = drained()
    begun = story.now
    story.wait(2)
    story.kube.drop("Pod", NAMESPACE, name)
    story.until(Phase.ROLLING_BACK)

    assert timedelta(seconds=GRACE_SECONDS) < story.now - begun <= timedelta(seconds=GRACE_SECONDS + 20)
    assert story.upgrade.failure is not None
    assert story.upgrade.failure.reason == Reason.PODS_REFUSED


def test_a_pod_on_a_dead_node_is_not_waited_for_beyond_its_grace() -> None:
    story, _ = drained()
    begun = story.now
    story.until(Phase.ROLLING_BACK)

    assert story.now - begun <= timedelta(seconds=GRACE_SECONDS + 20)


def test_pods_that_a_node_ends_in_an_orderly_way_are_no_evictions() -> None:
    story = installed(spec("1.0.0", components=[api_component("1.0.0", replicas=1)]))
    story.machinery.behaviours[IMAGE] = Behaviour(evicted="Terminated")
    story.apply(spec("1.1.0", components=[api_component("1.1.0", replicas=1)]))
    story.until(Phase.BRINGING_UP).wait(10)

    assert story.status.phase is Phase.BRINGING_UP
