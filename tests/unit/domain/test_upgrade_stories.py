"""Whole upgrades that go well: the first install, the plain one, the ramp, approvals, workers, pauses."""

import functools

import pytest
from tests.unit.domain.plane import api_component, gateway_component, spec, traffic, worker_component
from tests.unit.domain.story import NAME, NAMESPACE, Story, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import ScaleDeployment, SetServing, SwitchServices

THROUGH = [
    Phase.PREFLIGHT,
    Phase.BRINGING_UP,
    Phase.MIGRATING,
    Phase.VERIFYING,
    Phase.SWITCHING,
    Phase.SOAKING,
    Phase.CLOSING,
    Phase.STABLE,
]


def two_served(version: str, **more: object) -> dict[str, object]:
    return spec(version, components=[api_component(version), gateway_component(version)], **more)


def with_worker(version: str, handover: str = "Exclusive") -> dict[str, object]:
    return spec(version, components=[api_component(version), worker_component(version, handover)])


def _holds(story: Story, step: int) -> bool:
    upgrade = story.status.upgrade
    return upgrade is not None and upgrade.step == step and upgrade.step_at is not None


def test_a_first_install_brings_one_colour_up_and_needs_no_other() -> None:
    story = Story(spec("1.0.0")).settled()

    assert story.phases == [
        Phase.PENDING,
        Phase.BOOTSTRAPPING,
        *THROUGH[1:6],
        Phase.STABLE,
    ]
    assert story.serving() == {"1.0.0"}
    assert story.status.active_version == "1.0.0"
    assert story.status.traffic.current is Colour.BLUE
    assert story.condition("Ready")[0] == "True"
    story.at_rest()


def test_a_release_may_begin_on_green() -> None:
    story = Story(spec("1.0.0", traffic=traffic(current="green"))).settled()

    assert (story.status.traffic.current, story.status.traffic.green) == (Colour.GREEN, 100)


def test_an_upgrade_goes_through_every_phase_and_leaves_the_old_colour_at_zero() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.settled()

    assert story.phases[1:] == THROUGH
    assert story.serving() == {"1.1.0"}
    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3}
    last = story.status.last_upgrade
    assert last is not None
    assert (last.from_, last.to, last.outcome) == ("1.0.0", "1.1.0", Outcome.SUCCEEDED)
    assert [entry.phase for entry in last.timeline] == THROUGH[:-1]
    assert all(entry.ended_at is not None for entry in last.timeline)
    story.at_rest(decisions=100)


def test_colours_take_turns() -> None:
    story = installed(spec("1.0.0"))
    seen = []
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        story.apply(spec(version))
        story.settled()
        seen.append(story.status.traffic.current)

    assert seen == [Colour.GREEN, Colour.BLUE, Colour.GREEN]


def test_revisions_past_the_limit_are_pruned_and_the_kept_ones_stay() -> None:
    story = installed(spec("1.0.0"))
    for minor in range(1, 8):
        story.apply(spec(f"1.{minor}.0"))
        story.settled()

    kept = sorted(
        story.version(record["data"]["hash"]) for record in story.kube.list("ControllerRevision", NAMESPACE)
    )
    assert kept == [f"1.{minor}.0" for minor in range(2, 8)]
    assert set(story.deployments()) == {f"api/{version}" for version in kept}
    story.at_rest()


def test_all_components_switch_as_one_effect() -> None:
    story = installed(two_served("1.0.0"))
    story.apply(two_served("1.1.0"))
    story.settled()

    switches = [effect for effect in story.effects if isinstance(effect, SwitchServices)]
    assert [[patch.service for patch in switch.patches] for switch in switches] == [["mc-api", "mc-gateway"]]
    assert story.serving("mc-api") == story.serving("mc-gateway") == {"1.1.0"}


def test_a_new_port_comes_with_the_switch() -> None:
    story = installed(spec("1.0.0"))
    component = api_component("1.1.0")
    component["services"][0]["ports"][0]["targetPort"] = 9090
    story.apply(spec("1.1.0", components=[component]))
    story.settled()

    service = story.kube.get("Service", NAMESPACE, "mc-api")
    assert service is not None
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 9090}]


def test_a_candidate_gets_as_many_pods_as_serve_now() -> None:
    story = installed(spec("1.0.0"))
    [blue] = story.kube.list("Deployment", NAMESPACE)
    story.kube.edit("Deployment", NAMESPACE, blue["metadata"]["name"], {"spec": {"replicas": 6}})
    story.wait(5)
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)

    assert story.deployments()["api/1.1.0"] == 6


def test_the_standby_follows_the_active_colour_through_the_soak() -> None:
    story = installed(spec("1.0.0", soak="60s"))
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Reason.SOAKING).until(Phase.SOAKING)
    [green] = [
        item for item in story.kube.list("Deployment", NAMESPACE) if "-green-" in item["metadata"]["name"]
    ]
    story.kube.edit("Deployment", NAMESPACE, green["metadata"]["name"], {"spec": {"replicas": 7}})
    story.wait(40)

    assert story.deployments() == {"api/1.0.0": 7, "api/1.1.0": 7}


def test_a_ramp_moves_shares_that_pod_counts_can_express_and_holds_each() -> None:
    ramp = [{"weight": 25, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
    story = installed(spec("1.0.0", traffic=traffic(ramp=ramp)))
    story.apply(spec("1.1.0", traffic=traffic(ramp=ramp)))
    shares = []
    for step in range(2):
        story.until(functools.partial(_holds, story, step))
        service = story.kube.get("Service", NAMESPACE, "mc-api")
        assert service is not None
        pods = [
            story.version(pod["metadata"]["labels"][names.LABEL_REVISION])
            for pod in story.machinery.selected(service)
        ]
        shares.append((pods.count("1.1.0"), pods.count("1.0.0")))
        assert story.status.traffic.green == ramp[step]["weight"]
    story.settled()

    assert shares == [(1, 3), (3, 3)]
    assert story.serving() == {"1.1.0"}
    held = [entry for entry in story.log if "holding 25%" in entry]
    assert held


def test_a_weight_that_pod_counts_cannot_express_is_left_out_and_said() -> None:
    ramp = [{"weight": 5, "hold": "5s"}]
    story = installed(spec("1.0.0", traffic=traffic(ramp=ramp)))
    story.apply(spec("1.1.0", traffic=traffic(ramp=ramp)))
    story.settled()

    assert story.serving() == {"1.1.0"}
    assert any("spec.traffic.ramp[0].weight: 5% cannot be expressed" in line for line in story.log)
    assert not any(isinstance(effect, SetServing) for effect in story.effects)


def test_an_exclusive_worker_never_works_in_two_versions() -> None:
    story = installed(with_worker("1.0.0"))
    story.apply(with_worker("1.1.0"))
    story.until(Phase.SWITCHING)
    assert story.deployments()["worker/1.1.0"] == 0, "held back until the switch"
    while story.status.upgrade is not None:
        story.turn()
        workers = {
            story.version(pod["metadata"]["labels"][names.LABEL_REVISION])
            for pod in story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COMPONENT}=worker")
        }
        assert len(workers) <= 1

    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3, "worker/1.0.0": 0, "worker/1.1.0": 1}


def test_an_overlapping_worker_is_never_without_one() -> None:
    story = installed(with_worker("1.0.0", "Overlap"))
    story.apply(with_worker("1.1.0", "Overlap"))
    story.until(Phase.SWITCHING)
    while story.status.upgrade is not None:
        story.turn()
        pods = story.kube.list("Pod", NAMESPACE, f"{names.LABEL_COMPONENT}=worker")
        assert any("deletionTimestamp" not in pod["metadata"] for pod in pods)

    assert story.deployments()["worker/1.1.0"] == 1
    assert story.deployments()["worker/1.0.0"] == 0


def test_a_worker_that_the_new_version_dropped_is_stopped() -> None:
    story = installed(with_worker("1.0.0"))
    story.apply(spec("1.1.0"))
    story.settled()

    assert story.deployments() == {"api/1.0.0": 0, "api/1.1.0": 3, "worker/1.0.0": 0}


@pytest.mark.parametrize(
    ("approval", "waits_in", "step"),
    [
        ({"beforeSwitch": True}, Phase.VERIFYING, "switch"),
        ({"beforeContract": True}, Phase.SOAKING, "contract"),
    ],
)
def test_an_approval_is_waited_for_and_belongs_to_one_upgrade(
    approval: dict[str, bool], waits_in: Phase, step: str
) -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", approval=approval))
    story.annotate(names.ANNOTATION_APPROVE, f"u00000000/{step}")
    story.until(Reason.AWAITING_APPROVAL).long_after(minutes=2)
    assert story.status.phase is waits_in
    told = f"kubectl annotate cpr {NAME} --overwrite {names.ANNOTATION_APPROVE}={story.upgrade.id}/{step}"
    assert told in story.status.message

    story.annotate(names.ANNOTATION_APPROVE, f"{story.upgrade.id}/{step}")
    story.settled()
    assert story.status.active_version == "1.1.0"


@pytest.mark.parametrize("phase", [Phase.BRINGING_UP, Phase.VERIFYING, Phase.SOAKING])
def test_a_paused_upgrade_stays_where_it_is_and_goes_on(phase: Phase) -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(phase)
    story.change(paused=True)
    story.until(Reason.PAUSED)
    before = len(story.effects)
    story.wait(60)
    assert story.status.phase is phase
    assert story.effects[before:] == []

    story.change(paused=False)
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_paused_release_does_not_start_and_is_not_ready() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", paused=True))
    story.settled()

    assert story.status.reason == Reason.PAUSED
    assert story.status.upgrade is None
    assert story.condition("Ready")[0] == "False"
    story.at_rest()


def test_the_flag_keeps_new_upgrades_back_and_lets_one_under_way_end() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    story.new_upgrades = False
    story.settled()
    assert story.status.active_version == "1.1.0"

    story.apply(spec("1.2.0"))
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert "bluegreen_cp is off" in story.status.message


def test_replicas_are_applied_at_creation_only() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.0.0", components=[api_component("1.0.0", replicas=5)]))
    story.settled()

    assert story.deployments() == {"api/1.0.0": 3}
    assert not any(isinstance(effect, ScaleDeployment) for effect in story.effects)
    story.at_rest()


def test_the_traffic_config_map_tells_the_colour_and_keeps_other_keys() -> None:
    story = installed(spec("1.0.0"))
    story.kube.edit("ConfigMap", NAMESPACE, "mc-traffic", {"data": {"own": "kept", "current": "green"}})
    story.settled()
    config_map = story.kube.get("ConfigMap", NAMESPACE, "mc-traffic")
    assert config_map is not None
    assert config_map["data"] == {"own": "kept", "current": "blue"}
