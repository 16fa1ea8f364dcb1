"""The API server's clock jumps by minutes, in each phase and in both directions: docs/faults.md, part 1.

A jump of the operator's own machine never reaches a decision (tests/unit/adapters/test_clock.py).
"""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import api_component, migrations, spec, traffic, worker_component
from tests.unit.domain.story import BAD, Story, checkpoint, installed

from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import DeletePods, ScaleDeployment, SwitchServices
from conductor.domain.nodes import UNREADY_PATIENCE, unless_followed
from conductor.domain.snapshot import NodeState

pytestmark = pytest.mark.story

JUMPS = (120.0, -120.0)
PHASES = (
    *(Phase.PREFLIGHT, Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING, Phase.VERIFYING, Phase.RAMPING),
    *(Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING),
)
SOAK = timedelta(seconds=30)


def plane(version: str) -> dict[str, object]:
    """Everything that a phase may wait for."""
    return spec(
        version,
        components=[api_component(version), worker_component(version)],
        migrations=migrations(version),
        traffic=traffic(ramp=[{"weight": 50, "hold": "3s"}]),
        soak=f"{SOAK.seconds}s",
    )


def upgrading(phase: Phase) -> Story:
    """Until that phase begins, each once told and continued from there."""
    number = PHASES.index(phase)

    def tell() -> Story:
        if number:
            return upgrading(PHASES[number - 1]).until(phase)
        story = installed(plane("1.0.0"))
        story.apply(plane("1.1.0"))
        return story.until(phase)

    return checkpoint(f"clocks {phase}", tell)


def undisturbed() -> Story:
    return checkpoint("clocks undisturbed", lambda: upgrading(PHASES[-1]).settled())


def soaked(story: Story) -> timedelta:
    """The time that really passed between the switch and the end of the soak."""
    began = next(at for at, phase in story.entered if phase is Phase.SOAKING)
    return next(at for at, phase in story.entered if phase is Phase.CLOSING) - began


@pytest.mark.parametrize("seconds", JUMPS)
@pytest.mark.parametrize("phase", PHASES)
def test_an_upgrade_ends_as_without_a_jump(phase: Phase, seconds: float) -> None:
    expected = undisturbed()
    story = upgrading(phase)
    story.jump(seconds)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.SUCCEEDED
    assert story.status.active_version == "1.1.0"
    assert story.phases == expected.phases
    assert story.deployments() == expected.deployments()
    assert soaked(story) >= 0.94 * SOAK
    switches = [effect for effect in story.effects if isinstance(effect, SwitchServices)]
    assert len(switches) == len([e for e in expected.effects if isinstance(e, SwitchServices)])


@pytest.mark.parametrize("seconds", JUMPS)
@pytest.mark.parametrize("phase", PHASES)
def test_nor_does_an_operator_that_is_started_anew_after_it_do_harm(phase: Phase, seconds: float) -> None:
    """Nobody is left who knows how long it really was: deadlines and soak are off by the jump, and nothing else."""
    story = upgrading(phase)
    story.jump(seconds)
    story.restart()
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3, "worker/1.0.0": 0, "worker/1.1.0": 1}


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_deadline_is_measured_in_time_that_passed(seconds: float) -> None:
    story = installed(spec("1.0.0"))
    story.machinery.behaviours["localhost/mc:1.1.0"] = Behaviour(ready=False)
    story.apply(spec("1.1.0", deadlines={"bringUp": "10m"}))
    story.until(Phase.BRINGING_UP)
    began = story.now
    story.wait(60)
    story.jump(seconds)
    story.wait(60)
    story.jump(seconds)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.BRING_UP_DEADLINE
    refused_at = next(at for at, phase in story.entered if phase is Phase.BACKING_OUT and at > began)
    assert timedelta(minutes=9.4) <= refused_at - began <= timedelta(minutes=10.6)


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_rollback_does_not_notice(seconds: float) -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", soak="10m"))
    story.until(Reason.SOAKING)
    story.jump(seconds)
    story.health["1.1.0"] = BAD
    began = story.now
    story.until(lambda: story.serving() == {"1.0.0"})
    assert story.now - began <= timedelta(seconds=5)
    story.settled()
    assert story.status.active_version == "1.0.0"
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_pod_that_was_just_made_is_not_called_stuck(seconds: float) -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    story.machinery.behaviours["localhost/mc:1.1.0"] = Behaviour(waiting="ErrImagePull")
    story.jump(seconds)
    story.wait(20)
    assert story.status.phase is Phase.BRINGING_UP
    story.machinery.behaviours.clear()
    story.settled()
    assert story.status.active_version == "1.1.0"


@pytest.mark.parametrize("behind", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_a_node_that_just_went_is_not_called_lost(behind: timedelta) -> None:
    """Whichever of the two clocks its moment was written by."""
    story = installed(spec("1.0.0"))
    story.nodes = {"node-1": "", "node-2": "no answer through it"}
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING).wait(30)
    s = story.snapshot
    assert s is not None
    assert s.nodes is not None
    losing = s.revisions[story.upgrade.from_revision]
    server_now = s.now - behind

    def waits(unready_since: datetime) -> bool:
        assert s is not None
        assert s.nodes is not None
        nodes = replace(s.nodes, nodes=(NodeState("node-2", follows=False, unready_since=unready_since),))
        looked = replace(s, server_now=server_now, nodes=nodes)
        return unless_followed(looked, losing, Reason.SHEDDING) is not None

    assert waits(s.now - timedelta(seconds=10))
    assert waits(server_now - timedelta(seconds=10))
    assert not waits(min(s.now, server_now) - UNREADY_PATIENCE)


def soaking() -> Story:
    """Every client moved, eight minutes and more to go."""
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", soak="10m"))
    return story.until(Phase.SOAKING).wait(60)


def test_nothing_is_done_because_of_a_jump_forward() -> None:
    story = soaking()
    before = len(story.effects)
    story.jump(300)
    story.wait(200)
    assert story.effects[before:] == []
    assert story.status.phase is Phase.SOAKING


def test_after_a_jump_back_the_standby_is_shed_again_and_never_too_small() -> None:
    """New pods of it look as if they had served, until the API server's clock has passed the switch."""
    story = soaking()
    before = len(story.effects)
    story.jump(-300)
    story.wait(200)
    assert {type(effect) for effect in story.effects[before:]} <= {ScaleDeployment, DeletePods}
    assert min(e.replicas for e in story.effects if isinstance(e, ScaleDeployment)) >= 3
    assert story.status.phase is Phase.SOAKING
    story.settled()
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3}
