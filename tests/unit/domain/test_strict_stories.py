"""Transactions through two components, at every instant of an upgrade: never a mixed pair where Strict is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.domain.legacy import adopting, running
from tests.unit.domain.machinery import revision_of
from tests.unit.domain.plane import BACK, FRONT, Json, by_route, http_route, pair, strictly, traffic
from tests.unit.domain.story import BAD, NAMESPACE, Story, checkpoint, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain import repair
from conductor.domain.effects import DeleteObjects, SwitchServices
from conductor.domain.phases import bring_up, switching

pytestmark = pytest.mark.story

RAMP = [{"weight": 34, "hold": "5s"}, {"weight": 67, "hold": "5s"}]


def strict(version: str, **more: Any) -> Json:
    return pair(version, **{"traffic": strictly(), **more})


def routed(version: str, **more: Any) -> Json:
    """One route is the edge."""
    led = by_route("mc", consistency="Strict", ramp=[{"weight": 10, "hold": "5s"}])
    return pair(version, **{"traffic": led, **more})


def behind_a_route() -> Story:
    story = installed(routed("1.0.0"))
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", FRONT))
    story.machinery.settle()
    return story


def watched(story: Story) -> Story:
    """Also where nothing asks for Strict."""
    story.invariants.transactions.edge = FRONT
    return story


def unseen(story: Story) -> Story:
    """Somebody takes away what users' calls need: this is about what is done then, and not about those calls."""
    story.kube.witness = None
    story.invariants.transactions = Story(pair("1.0.0")).invariants.transactions
    return story


def mixed(story: Story) -> set[tuple[str, str, str]]:
    """What users may have met: versions at the edge and behind it, and how it was called."""
    found = story.invariants.transactions
    assert not found.lost
    return {(story.version(item.edge), item.called, story.version(item.behind)) for item in found.mixed}


def upgrading(goal: Phase, spec: Callable[..., Json] = strict, **more: object) -> Story:
    def tell() -> Story:
        story = installed(spec("1.0.0"))
        story.apply(spec("1.1.0", soak="30s", **more))
        return story.until(goal)

    return checkpoint(f"strict {spec.__name__} {goal} {more}", tell)


def pods(story: Story, version: str) -> list[Object]:
    every = story.kube.list("Pod", NAMESPACE)
    return [pod for pod in every if story.version(revision_of(pod)) == version]


def leads(story: Story, service: str) -> set[str]:
    """The version that a Service's selector names."""
    found = story.kube.get("Service", NAMESPACE, service)
    assert found is not None, f"Service {service} is gone"
    return {story.version(found["spec"]["selector"][names.LABEL_REVISION])}


# mixed or not


def test_without_strict_transactions_are_mixed_at_the_switch_and_at_the_way_back() -> None:
    story = watched(installed(pair("1.0.0", by_colour=False)))
    story.apply(pair("1.1.0", by_colour=False, soak="30s"))
    story.until(Phase.SOAKING)
    forward = mixed(story)
    assert {("1.1.0", BACK, "1.0.0"), ("1.0.0", BACK, "1.1.0")} <= forward
    story.invariants.transactions.mixed.clear()
    story.wait(10)
    story.invariants.transactions.mixed.clear()
    story.health["1.1.0"] = BAD
    story.settled()
    assert ("1.1.0", BACK, "1.0.0") in mixed(story)


def test_a_colour_that_was_not_turned_to_the_candidate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    story = installed(strict("1.0.0"))
    story.apply(strict("1.1.0"))
    story.settled()
    for module, name in (
        (bring_up, "_own_services"),
        (bring_up, "behind_gap"),
        (switching, "behind_gap"),
        (repair, "upheld"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)
    story.apply(strict("1.2.0"))
    with pytest.raises(AssertionError, match=r"a user's transaction: .*called='mc-back-blue', behind=''"):
        story.settled()


@pytest.mark.parametrize("ramp", [[], RAMP], ids=["switched", "ramped"])
def test_with_strict_no_transaction_is_mixed_forward_and_back_and_with_the_colour_used_again(
    ramp: list[Json],
) -> None:
    story = installed(strict("1.0.0"))
    led = strictly(ramp=ramp)
    for version in ("1.1.0", "1.2.0"):
        story.apply(strict(version, traffic=led))
        story.settled()
        assert story.serving(FRONT) == story.serving(BACK) == {version}
    story.apply(strict("1.3.0", traffic=led, soak="1m"))
    story.until(Phase.RAMPING if ramp else Phase.SOAKING)
    story.wait(8 if ramp else 20)
    story.health["1.3.0"] = BAD
    story.settled()
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.outcome is Outcome.ROLLED_BACK
    assert story.serving(FRONT) == story.serving(BACK) == {"1.2.0"}
    assert mixed(story) == set()
    story.at_rest()


def test_with_one_route_as_the_edge_no_transaction_is_mixed() -> None:
    story = behind_a_route()
    for version in ("1.1.0", "1.2.0"):
        story.apply(routed(version))
        story.settled()
        assert story.serving(FRONT) == {version}
    story.apply(routed("1.3.0", soak="1m"))
    story.until(Phase.SOAKING).wait(10)
    story.health["1.3.0"] = BAD
    story.settled()
    assert story.serving(FRONT) == story.serving(BACK) == {"1.2.0"}
    assert mixed(story) == set()


def test_back_after_the_old_colour_was_drained_nothing_is_mixed() -> None:
    story = upgrading(Phase.CLOSING)
    story.until(lambda: not pods(story, "1.0.0"))
    story.health["1.1.0"] = BAD
    story.settled()
    assert story.serving(FRONT) == story.serving(BACK) == {"1.0.0"}
    assert mixed(story) == set()


@pytest.mark.parametrize("refused", [FRONT, BACK])
def test_a_switch_that_fails_half_way_mixes_nothing(refused: str) -> None:
    story = upgrading(Phase.SWITCHING)
    left = 1

    def fault(moment: Moment, write: Write) -> None:
        nonlocal left
        if (moment, write.verb, write.name, write.dry_run) == ("before", "patch", refused, False) and left:
            left -= 1
            raise ApiError(500, "InternalError", "etcd is away")

    story.kube.fault = fault
    story.settled()
    assert left == 0
    assert story.serving(FRONT) == story.serving(BACK) == {"1.1.0"}
    assert mixed(story) == set()


# in which order, and by what


def test_the_edge_is_moved_first_and_all_move_as_one_effect() -> None:
    story = upgrading(Phase.SWITCHING)
    story.until(Phase.SOAKING)
    [switch] = [
        effect for effect in story.effects if isinstance(effect, SwitchServices) and len(effect.patches) > 1
    ]
    assert [patch.service for patch in switch.patches] == [FRONT, BACK]


def test_services_of_the_colour_lead_to_the_candidate_before_any_pod_of_it_runs() -> None:
    story = installed(strict("1.0.0"))
    story.apply(strict("1.1.0"))
    story.settled()
    story.apply(strict("1.2.0"))
    story.until(lambda: bool(pods(story, "1.2.0")))
    assert story.upgrade.to_colour == "blue"
    for service in (FRONT, BACK):
        assert leads(story, f"{service}-blue") == {"1.2.0"}
        assert leads(story, f"{service}-green") == leads(story, service) == {"1.1.0"}


def test_a_first_install_makes_the_services_of_its_colour_before_its_pods() -> None:
    story = Story(strict("1.0.0"))
    story.until(lambda: bool(story.kube.list("Pod", NAMESPACE)))
    assert leads(story, f"{BACK}-blue") == leads(story, f"{FRONT}-blue") == {"1.0.0"}
    story.settled()
    assert story.status.phase is Phase.STABLE


def test_in_a_ramp_the_edge_alone_is_shared_and_every_pod_behind_it_stays() -> None:
    story = upgrading(Phase.RAMPING, traffic=strictly(ramp=RAMP))
    story.until(lambda: story.upgrade.step_at is not None)
    front = story.kube.get("Service", NAMESPACE, FRONT)
    assert front is not None
    versions = [story.version(revision_of(pod)) for pod in story.machinery.selected(front)]
    # Two backs of each colour could not express 34 %.
    assert (versions.count("1.0.0"), versions.count("1.1.0")) == (2, 1)
    assert story.serving(BACK) == {"1.0.0"}
    for colour, version in (("blue", "1.0.0"), ("green", "1.1.0")):
        service = story.kube.get("Service", NAMESPACE, f"{BACK}-{colour}")
        assert service is not None
        assert len(story.machinery.selected(service)) == 2
        assert story.serving(f"{BACK}-{colour}") == {version}


def test_labels_by_which_pods_know_their_colour_are_never_written() -> None:
    story = upgrading(Phase.RAMPING, traffic=strictly(ramp=RAMP))
    known: dict[str, str] = {}
    while story.status.upgrade is not None:
        story.turn()
        for pod in story.kube.list("Pod", NAMESPACE):
            colour = pod["metadata"]["labels"][names.LABEL_COLOUR]
            assert known.setdefault(pod["metadata"]["uid"], colour) == colour
    assert set(known.values()) == {"blue", "green"}


def test_after_a_rollback_what_is_behind_the_edge_goes_once_the_edge_has_gone() -> None:
    story = upgrading(Phase.SOAKING)
    story.health["1.1.0"] = BAD
    story.settled()
    removed = [effect.objects for effect in story.effects if isinstance(effect, DeleteObjects)]
    [first, second] = [[name for kind, name in objects if kind == "Deployment"] for objects in removed]
    assert [name.startswith("mc-front-green") for name in first] == [True]
    assert [name.startswith("mc-back-green") for name in second] == [True]


# somebody else


@pytest.mark.parametrize(
    ("phase", "colour"),
    [
        (Phase.STABLE, "blue"),
        *((phase, colour) for phase in (Phase.VERIFYING, Phase.SOAKING) for colour in ("blue", "green")),
    ],
)
def test_a_service_of_a_colour_that_is_gone_or_led_astray_is_put_right(phase: Phase, colour: str) -> None:
    story = unseen(upgrading(phase) if phase is not Phase.STABLE else installed(strict("1.0.0")))
    before = leads(story, f"{BACK}-{colour}")
    story.kube.drop("Service", NAMESPACE, f"{BACK}-{colour}")
    other = {"spec": {"selector": {names.LABEL_REVISION: "gone"}}}
    story.kube.edit("Service", NAMESPACE, f"{FRONT}-{colour}", other)
    story.turn()
    story.turn()
    assert leads(story, f"{BACK}-{colour}") == leads(story, f"{FRONT}-{colour}") == before
    story.settled()


@pytest.mark.parametrize("colour", ["blue", "green"])
def test_a_name_that_somebody_else_has_is_refused_before_anything_runs(colour: str) -> None:
    story = installed(pair("1.0.0", by_colour=False))
    taken = {"metadata": {"name": f"{BACK}-{colour}"}, "spec": {"selector": {"app": "x"}, "ports": []}}
    story.kube.put("Service", NAMESPACE, taken)
    before = story.deployments()
    story.apply(strict("1.1.0"))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.FOREIGN_SERVICE)
    assert f"Service {BACK}-{colour} was not made by this operator" in last.message
    assert story.deployments() == before


def _without_colour(spec: Json) -> Json:
    [front] = [item for item in spec["components"] if item["name"] == "front"]
    front["template"]["spec"]["containers"][0]["env"] = []
    return spec


def _plain(spec: Json) -> Json:
    [front] = [item for item in spec["components"] if item["name"] == "front"]
    front["template"]["spec"]["containers"][0]["args"] = [f"--audit-url=http://{BACK}.prod.svc:80/audit"]
    return spec


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (_without_colour, "no container of component front, which users meet first, is told the colour"),
        (
            _plain,
            f"'--audit-url=http://{BACK}.prod.svc:80/audit' calls Service {BACK}, which leads to one colour",
        ),
    ],
)
def test_templates_that_cannot_keep_it_are_refused(made: Callable[[Json], Json], said: str) -> None:
    story = installed(strict("1.0.0"))
    story.apply(made(strict("1.1.0")))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.STRICT_UNATTAINABLE)
    assert said in last.message


# from what was not strict


def events(story: Story, reason: Reason) -> list[Object]:
    return [item for item in story.kube.list("Event", NAMESPACE) if item["reason"] == reason]


def test_the_first_upgrade_from_pods_that_know_no_colour_says_that_it_is_not_yet_strict() -> None:
    story = watched(installed(pair("1.0.0", by_colour=False)))
    story.apply(strict("1.1.0", soak="30s"))
    story.until(Phase.SOAKING)
    [told] = events(story, Reason.NOT_YET_STRICT)
    assert told["type"] == "Warning"
    assert "pods of 1.0.0 do not call by their colour" in told["note"]
    # Only by what clients of the old version still hold.
    assert mixed(story) <= {("1.0.0", BACK, "1.1.0")}
    story.wait(20)
    story.invariants.transactions.mixed.clear()
    story.settled()
    story.apply(strict("1.2.0"))
    story.settled()
    assert len(events(story, Reason.NOT_YET_STRICT)) == 1
    assert mixed(story) == set()


def test_back_to_pods_that_know_no_colour_the_edge_moves_last() -> None:
    story = installed(pair("1.0.0", by_colour=False))
    story.apply(strict("1.1.0", soak="1m"))
    story.until(Phase.SOAKING).wait(20)
    story.health["1.1.0"] = BAD
    story.settled()
    back = [effect for effect in story.effects if isinstance(effect, SwitchServices)][-1]
    assert [patch.service for patch in back.patches] == [BACK, FRONT]


def test_strict_that_is_asked_for_at_rest_makes_the_services_and_changes_nothing_that_runs() -> None:
    story = unseen(installed(pair("1.0.0")))
    before = story.deployments()
    story.apply(strict("1.0.0"))
    story.settled()
    assert leads(story, f"{BACK}-blue") == leads(story, f"{FRONT}-blue") == {"1.0.0"}
    assert story.kube.get("Service", NAMESPACE, f"{BACK}-green") is None
    assert story.deployments() == before
    story.at_rest()


def test_templates_that_still_call_by_colour_find_their_services_once_strict_was_taken_out() -> None:
    story = installed(strict("1.0.0"))
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        story.apply(pair(version))
        story.settled()
        assert story.serving(FRONT) == {version}
    assert mixed(story) == set()


def test_adopted_pods_get_no_services_of_a_colour_and_the_upgrade_from_them_says_that_it_is_not_yet_strict() -> (
    None
):
    story = running(adopting("1.0.0", traffic=traffic(consistency="Strict")))
    story.until(Phase.BRINGING_UP)
    assert len(events(story, Reason.NOT_YET_STRICT)) == 1
    assert story.kube.get("Service", NAMESPACE, "mc-api-blue") is None
    story.until(lambda: story.status.upgrade is None)
    assert leads(story, "mc-api-green") == {"1.0.0"}


def test_deleted_with_everything_the_services_of_colours_go_too() -> None:
    story = installed(strict("1.0.0", deletionPolicy="Delete"))
    unseen(story).delete()
    story.until(lambda: story.gone)
    assert story.kube.list("Service", NAMESPACE) == []
