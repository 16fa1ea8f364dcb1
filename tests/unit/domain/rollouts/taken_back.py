"""Upgrades that fail after users met them: traffic goes back first, everything else after."""

from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import traffic
from tests.unit.domain.rollouts.planes import (
    FAILED,
    Tale,
    Told,
    approve,
    data,
    health,
    pods,
    ramped,
    small,
    under_way,
    well_again,
)
from tests.unit.domain.story import BAD, SILENT, SLOW, Story, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "Taken back after users met it"


def ramp_unhealthy() -> Told:
    """The new version breaks its limits while half of the users are on it: all of them go back at once."""
    story = under_way(Phase.RAMPING)
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    return story.settled()


def ramp_deadline() -> Told:
    """A ramp step that never gets its verdict ends at the ramp's deadline, and users go back."""
    story = installed(ramped("1.0.0"))
    story.apply(ramped("1.1.0", deadlines={"ramp": "10m"}))
    story.until(lambda: story.status.phase is Phase.RAMPING and story.upgrade.step_at is not None)
    story.begin("an upgrade that goes well, until Ramping")
    health(story, "1.1.0", SILENT, "no series of 1.1.0")
    return story.long_after(minutes=10).settled()


def ramp_cannot_be_expressed() -> Told:
    """Weights that two pods a colour cannot express are left out and said, never overshot."""
    story = installed(small("1.0.0"))
    ramp = [{"weight": weight, "hold": "5s"} for weight in (5, 34, 50)]
    story.apply(small("1.1.0", traffic=traffic(ramp=ramp)))
    story.until(Phase.RAMPING).begin("an upgrade that goes well, until Ramping")
    return story.until(Phase.SOAKING)


def routing_never_proven() -> Told:
    """After the switch the data path never answers with the new version: after a minute users go back."""
    story = installed(small("1.0.0"))
    story.apply(small("1.1.0"))
    story.until(Phase.SWITCHING).begin("an upgrade that goes well, until Switching")
    story.note("mc-api answers with another version, whatever its endpoints say")
    story.wrong_answers.add("1.1.0")
    return story.settled()


def soak_unhealthy() -> Told:
    """The new version turns slow in the soak: traffic goes back to the standby that was kept for this."""
    story = under_way(Phase.SOAKING)
    health(story, "1.1.0", SLOW, "p95 of 1.1.0 rises to 1.5 s")
    return story.settled()


def soak_without_data() -> Told:
    """No data in the soak neither goes on nor back, unless switchHealth.noData is Rollback."""
    return [
        ("noData: Wait", _without_data("Wait").wait(30)),
        ("noData: Rollback", _without_data("Rollback").settled()),
    ]


def _without_data(policy: str) -> Story:
    story = installed(small("1.0.0"))
    story.apply(small("1.1.0", traffic=traffic(switchHealth={"noData": policy})))
    story.until(Phase.SOAKING).until(lambda: "rollback window open" in story.status.message)
    story.begin("an upgrade that goes well, until Soaking")
    health(story, "1.1.0", SILENT, "no series of 1.1.0")
    return story


def closing_never_silent() -> Told:
    """A pod of the old colour still answers somebody: it is not drained, and after ten minutes a person is told."""
    story = installed(small("1.0.0"))
    story.noise = 0.2
    story.apply(small("1.1.0"))
    story.until(Phase.CLOSING).begin("an upgrade that goes well, until Closing")
    story.note("Prometheus: a pod of 1.0.0 still answers a request now and then")
    story.long_after(minutes=60)
    story.note("the client that asked it by its address is gone")
    story.noise = 0.0
    return story.settled()


def contract_fails_then_retry() -> Told:
    """A contract step that fails goes forward only: Stalled with the mend, and a retry ends it."""
    story = installed(data("1.0.0"))
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted", "message": "contract is done"}]
    story.apply(data("1.1.0"))
    story.until(Phase.CONTRACTING).begin("an upgrade that goes well, until Contracting")
    story.until(Reason.CONTRACT_FAILED).long_after(minutes=60)
    story.annotate(names.ANNOTATION_RETRY, f"{story.upgrade.id}/contract/1")
    return story.settled()


def target_not_ready() -> Told:
    """A rollback whose target cannot serve holds traffic where it is, and a person decides what comes of it."""
    back, stays, half = _without_target(), _without_target(), under_way(Phase.SOAKING)
    well_again(back.long_after(minutes=30), "1.0.0")
    approve(stays.long_after(minutes=30), stays.upgrade.id, "stay")
    _keep_half(half)
    _target_gone(half).until(lambda: half.serving() == {"1.0.0"}).wait(5)
    well_again(half, "1.0.0")
    return [
        ("the standby comes back", back.settled()),
        ("the new version stays, as approved", stays.settled()),
        ("half of a standby will do", half.settled()),
    ]


def _without_target() -> Story:
    return _target_gone(under_way(Phase.SOAKING))


def _target_gone(story: Story) -> Story:
    pods(story, "1.0.0", Behaviour(waiting="ImagePullBackOff"), "those that are new cannot pull their image")
    health(story.wait(5), "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    return story.until(Phase.ROLLING_BACK)


def _keep_half(story: Story) -> None:
    standby = [
        pod["metadata"]["name"]
        for pod in story.kube.list("Pod", "prod", f"{names.LABEL_COMPONENT}=api")
        if story.version(pod["metadata"]["labels"][names.LABEL_REVISION]) == "1.0.0"
    ]
    story.machinery.stays_ready = set(standby[:1])


TALES: tuple[Tale, ...] = (
    ramp_unhealthy,
    ramp_deadline,
    ramp_cannot_be_expressed,
    routing_never_proven,
    soak_unhealthy,
    soak_without_data,
    closing_never_silent,
    contract_fails_then_retry,
    target_not_ready,
)
