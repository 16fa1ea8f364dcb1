"""Upgrades that are taken back after users met the new version, in each phase where that can be."""

import pytest
from tests.unit.domain.machinery import Behaviour
from tests.unit.domain.plane import api_component, gateway_component, spec, traffic, worker_component
from tests.unit.domain.story import BAD, BROKEN, NAMESPACE, SILENT, Story, checkpoint, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import DeleteObjects, SwitchServices

IMAGE = "localhost/mc:1.1.0"
RAMP = traffic(ramp=[{"weight": 25, "hold": "20s"}, {"weight": 50, "hold": "20s"}])


def plane(version: str, **more: object) -> Object:
    """Two components with users and a worker, with a ramp and a soak of a minute."""
    components = [api_component(version), gateway_component(version), worker_component(version)]
    return spec(version, components=components, traffic=RAMP, soak="60s", **more)


def upgrading(to: Phase) -> Story:
    return checkpoint(f"rollback from {to}", lambda: _upgrading(to))


def _upgrading(to: Phase) -> Story:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(to)
    if to is Phase.RAMPING:
        story.until(lambda: story.upgrade.step_at is not None)
    if to is Phase.SWITCHING:
        story.until(lambda: story.serving() == {"1.1.0"})
    if to is Phase.CLOSING:
        story.until(lambda: story.deployments()["gateway/1.0.0"] == 0)
    return story


def taken_back(story: Story, reason: Reason, outcome: Outcome = Outcome.ROLLED_BACK) -> None:
    """All users are on blue again, at full size; green is gone; the spec is remembered."""
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (outcome, reason), last.message
    assert last.decided_at is not None
    assert last.switched_back_at is not None
    assert story.serving("mc-api") == story.serving("mc-gateway") == {"1.0.0"}
    assert story.deployments() == {"api/1.0.0": 3, "gateway/1.0.0": 2, "worker/1.0.0": 1}
    assert story.status.traffic.current is Colour.BLUE
    config_map = story.kube.get("ConfigMap", NAMESPACE, "mc-traffic")
    assert config_map is not None
    assert config_map["data"]["current"] == "blue"
    assert story.condition("RollbackWindowOpen")[0] == "False"
    assert story.condition("TrafficConverged")[0] == "True"
    story.at_rest()


MET_USERS = [Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING]


@pytest.mark.parametrize("phase", MET_USERS)
def test_a_rollback_that_is_asked_for_moves_traffic_first(phase: Phase) -> None:
    story = upgrading(phase)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    before = len(story.effects)
    story.until(lambda: story.serving("mc-api") == story.serving("mc-gateway") == {"1.0.0"})
    done = story.effects[before:]

    assert isinstance(done[-1], SwitchServices)
    if phase is not Phase.CLOSING:
        assert len(done) == 1, "nothing comes before the traffic"
    taken_back(story, Reason.ROLLBACK_REQUESTED)
    assert story.condition("Stalled") == ("True", Reason.ROLLED_BACK)


@pytest.mark.parametrize("phase", [Phase.RAMPING, Phase.SOAKING, Phase.CLOSING])
def test_an_unhealthy_verdict_takes_it_back(phase: Phase) -> None:
    story = upgrading(phase)
    story.health["1.1.0"] = BAD
    taken_back(story, Reason.UNHEALTHY)


@pytest.mark.parametrize("phase", MET_USERS)
def test_a_crash_loop_takes_it_back(phase: Phase) -> None:
    story = upgrading(phase)
    story.machinery.behaviours[IMAGE] = Behaviour(waiting="CrashLoopBackOff", restarts=4)
    story.until(Phase.ROLLING_BACK)
    assert story.upgrade.failure is not None
    assert story.upgrade.failure.reason in {Reason.CRASH_LOOPING, Reason.READINESS_LOST}
    taken_back(story, Reason(story.upgrade.failure.reason))


@pytest.mark.parametrize("phase", MET_USERS)
def test_pods_that_lose_their_readiness_take_it_back(phase: Phase) -> None:
    story = upgrading(phase).wait(0)
    story.now += (story.now - story.upgrade.started_at) * 4
    story.machinery.behaviours[IMAGE] = Behaviour(ready=False)
    taken_back(story, Reason.READINESS_LOST)


def test_a_colour_that_an_autoscaler_trebles_is_not_taken_for_a_lost_one() -> None:
    story = upgrading(Phase.SOAKING)
    [green] = [d for d in story.kube.list("Deployment", NAMESPACE) if "api-green-" in d["metadata"]["name"]]
    story.kube.edit("Deployment", NAMESPACE, green["metadata"]["name"], {"spec": {"replicas": 9}})
    story.wait(10)

    assert story.status.phase is Phase.SOAKING


def test_a_data_path_that_is_never_proven_takes_it_back() -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.until(Phase.SWITCHING)
    story.wrong_answers.add("1.1.0")
    story.long_after(minutes=2)
    taken_back(story, Reason.ROUTING_UNPROVEN)


@pytest.mark.parametrize("phase", MET_USERS)
def test_neither_prometheus_nor_any_sample_is_needed_to_go_back(phase: Phase) -> None:
    story = upgrading(phase)
    story.health = {"1.0.0": BROKEN, "1.1.0": BROKEN}
    story.noise = None
    story.wrong_answers = {"1.0.0", "1.1.0"}
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    taken_back(story, Reason.ROLLBACK_REQUESTED)


@pytest.mark.parametrize("phase", [Phase.RAMPING, Phase.SOAKING])
def test_no_data_alone_neither_goes_on_nor_back(phase: Phase) -> None:
    story = upgrading(phase)
    story.health["1.1.0"] = SILENT
    story.long_after(minutes=20)

    assert story.status.phase is phase
    assert story.condition("Healthy") == ("Unknown", "NoData")
    assert story.status.reason == Reason.NO_DATA


def test_no_data_goes_back_where_the_policy_says_so() -> None:
    limits = {"noData": "Rollback"}
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", traffic=traffic(switchHealth=limits)))
    story.until(Phase.SOAKING)
    story.health["1.1.0"] = SILENT
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.NO_DATA
    assert story.serving() == {"1.0.0"}


def test_a_ramp_without_a_verdict_ends_at_its_deadline() -> None:
    story = installed(spec("1.0.0", traffic=RAMP))
    story.apply(spec("1.1.0", traffic=RAMP, deadlines={"ramp": "2m"}))
    story.until(Phase.RAMPING)
    story.health["1.1.0"] = SILENT
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.RAMP_DEADLINE
    assert story.serving() == {"1.0.0"}


BEFORE_USERS = [Phase.PREFLIGHT, Phase.BRINGING_UP, Phase.VERIFYING]


@pytest.mark.parametrize("phase", [*BEFORE_USERS, *MET_USERS])
def test_an_abort_ends_the_upgrade_wherever_it_is(phase: Phase) -> None:
    story = upgrading(phase)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ABORTED
    assert story.deployments() == {"api/1.0.0": 3, "gateway/1.0.0": 2, "worker/1.0.0": 1}
    assert story.serving() == {"1.0.0"}
    story.at_rest()


@pytest.mark.parametrize("phase", [*BEFORE_USERS, *MET_USERS])
def test_a_spec_set_back_takes_the_upgrade_back_and_is_ready(phase: Phase) -> None:
    story = upgrading(phase)
    story.apply(plane("1.0.0"))
    story.settled()

    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.SPEC_REVERTED
    assert story.serving() == {"1.0.0"}
    assert story.condition("Ready") == ("True", Reason.STABLE)
    story.at_rest()


@pytest.mark.parametrize("phase", [*BEFORE_USERS, Phase.RAMPING])
def test_a_newer_spec_supersedes_an_upgrade_before_its_switch(phase: Phase) -> None:
    story = upgrading(phase)
    story.apply(plane("1.2.0"))
    story.settled()

    assert story.status.active_version == "1.2.0"
    assert any(Reason.SUPERSEDED in line for line in story.log)
    assert "api/1.1.0" not in story.deployments()


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.SOAKING])
def test_a_newer_spec_after_the_switch_waits_for_its_turn(phase: Phase) -> None:
    story = upgrading(phase)
    story.apply(plane("1.2.0"))
    story.until(Phase.CLOSING)
    assert story.serving() == {"1.1.0"}
    story.settled()

    assert story.status.active_version == "1.2.0"


def test_a_command_for_another_upgrade_is_answered_once_and_followed_never() -> None:
    story = upgrading(Phase.SOAKING)
    story.annotate(names.ANNOTATION_ROLLBACK, "u00000000")
    story.wait(5)

    assert story.status.phase is Phase.SOAKING
    assert story.serving() == {"1.1.0"}
    answers = [
        event for event in story.kube.list("Event", NAMESPACE) if event["reason"] == Reason.COMMAND_REFUSED
    ]
    assert len(answers) == 1


def test_rollback_to_the_former_revision_in_the_window_is_traffic_only() -> None:
    story = upgrading(Phase.SOAKING)
    story.change(rollbackTo=story.upgrade.from_revision)
    before = len(story.effects)
    story.until(lambda: story.serving() == {"1.0.0"})
    assert [type(effect) for effect in story.effects[before:]] == [SwitchServices]
    story.settled()

    assert story.condition("Ready") == ("True", Reason.STABLE)
    story.at_rest()


def test_rollback_to_a_kept_revision_is_an_upgrade_of_its_own() -> None:
    story = installed(spec("1.0.0"))
    first = story.status.active_revision
    for version in ("1.1.0", "1.2.0"):
        story.apply(spec(version))
        story.settled()
    story.change(rollbackTo=first)
    story.settled()

    assert story.status.active_version == "1.0.0"
    assert story.serving() == {"1.0.0"}
    assert story.condition("Ready")[0] == "True"
    story.change(rollbackTo="")
    story.settled()
    assert story.status.active_version == "1.2.0"


def test_pausing_holds_an_upgrade_to_a_kept_revision_too() -> None:
    story = installed(spec("1.0.0"))
    first = story.status.active_revision
    story.apply(spec("1.1.0"))
    story.settled()
    story.change(rollbackTo=first)
    story.until(Phase.VERIFYING)
    story.change(paused=True)
    story.long_after(minutes=2)

    assert (story.status.phase, story.status.reason) == (Phase.VERIFYING, Reason.PAUSED)


def test_rollback_to_an_unknown_revision_names_the_kept_ones() -> None:
    story = installed(spec("1.0.0"))
    story.change(rollbackTo="0123456789")
    story.settled()

    assert story.condition("Stalled") == ("True", Reason.UNKNOWN_REVISION)
    assert story.status.message == (
        f"spec.rollbackTo: 0123456789 is not a kept revision; kept are {story.status.active_revision}"
    )
    story.at_rest()


def test_traffic_is_never_pointed_at_a_standby_that_is_not_there() -> None:
    story = upgrading(Phase.SOAKING)
    story.machinery.behaviours["localhost/mc:1.0.0"] = Behaviour(ready=False)
    story.turn()
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.wait(60)
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.serving() == {"1.1.0"}
    assert story.condition("Stalled") == ("True", Reason.TARGET_NOT_READY)

    story.machinery.behaviours.clear()
    taken_back(story, Reason.ROLLBACK_REQUESTED)


def test_half_of_a_standby_will_do_after_a_while() -> None:
    story = upgrading(Phase.SOAKING).until(Reason.SOAKING)
    story.wait(20)
    doomed = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_REVISION}={story.upgrade.from_revision}")
    story.machinery.behaviours["localhost/mc:1.0.0"] = Behaviour(ready=False)
    by_component = {pod["metadata"]["labels"][names.LABEL_COMPONENT]: pod for pod in doomed}
    kept_ready = [pod for pod in doomed if pod is not by_component["api"]]
    story.machinery.stays_ready = {pod["metadata"]["name"] for pod in kept_ready}
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.wait(10)
    assert story.serving() == {"1.1.0"}, "a full standby is waited for first"
    story.until(lambda: story.serving() == {"1.0.0"})


def test_the_script_took_the_traffic_back_while_the_operator_was_away() -> None:
    story = upgrading(Phase.SOAKING).wait(40)
    for name, component in (("mc-api", "api"), ("mc-gateway", "gateway")):
        selector = {
            names.LABEL_RELEASE: "mc",
            names.LABEL_COMPONENT: component,
            names.LABEL_REVISION: story.upgrade.from_revision,
        }
        story.kube.edit("Service", NAMESPACE, name, {"spec": {"selector": selector}})
    story.annotate(names.ANNOTATION_ROLLED_BACK_BY, f"script/{story.upgrade.id}")
    before = len(story.effects)
    story.epoch += 1
    taken_back(story, Reason.ROLLED_BACK_BY_SCRIPT)

    assert not any(isinstance(effect, SwitchServices) for effect in story.effects[before:])


def test_green_goes_only_after_node_proxies_had_their_time() -> None:
    story = upgrading(Phase.SOAKING)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(lambda: story.serving() == {"1.0.0"})
    switched_back = story.now
    story.until(lambda: any(isinstance(effect, DeleteObjects) for effect in story.effects[-1:]))

    assert (story.now - switched_back).total_seconds() >= 1.5
