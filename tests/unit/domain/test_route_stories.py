"""Routes in whole upgrades: what is refused, what is kept of their owner's, and what befalls them on the way."""

import copy
from collections.abc import Callable

import pytest
from tests.unit.domain.legacy import adopting, running
from tests.unit.domain.plane import Json, api_component, by_route, gateway_component, http_route, spec
from tests.unit.domain.rollouts.by_route import (
    STEPS,
    backends,
    behind_a_route,
    lead_by,
    led,
    reapplied,
    route,
    routed,
    upgrading,
)
from tests.unit.domain.rollouts.planes import approve
from tests.unit.domain.story import BAD, NAMESPACE, Story, installed

from conductor.adapters.kube import ApiError, Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.effects import SwitchServices, WeighRoutes

pytestmark = pytest.mark.story


def without_status(item: Object) -> Object:
    return {"labels": item["metadata"].get("labels"), "spec": item["spec"]}


# what is refused


def _nowhere(story: Story) -> None:
    story.kube.drop("HTTPRoute", NAMESPACE, "mc")


def _not_installed(story: Story) -> None:
    _nowhere(story)
    story.kube.unserved.add("HTTPRoute")


def _of_others(story: Story) -> None:
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", "billing"))


def _beside_others(story: Story) -> None:
    item = http_route("mc")
    item["spec"]["rules"][0]["backendRefs"].append({"name": "legacy", "port": 80, "weight": 3})
    story.kube.put("HTTPRoute", NAMESPACE, item)


def _sticky(story: Story) -> None:
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", sessionPersistence={"type": "Cookie"}))


def _weightless(story: Story) -> None:
    item = http_route("mc")
    item["spec"]["rules"][0]["backendRefs"][0]["weight"] = 0
    story.kube.put("HTTPRoute", NAMESPACE, item)


def _another_port(story: Story) -> None:
    item = http_route("mc")
    item["spec"]["rules"][0]["backendRefs"][0]["port"] = 8081
    story.kube.put("HTTPRoute", NAMESPACE, item)


def _in_another_namespace(story: Story) -> None:
    item = http_route("mc")
    item["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "elsewhere"
    story.kube.put("HTTPRoute", NAMESPACE, item)


def _name_is_taken(story: Story) -> None:
    story.kube.put(
        "Service",
        NAMESPACE,
        {"metadata": {"name": "mc-api-green"}, "spec": {"selector": {"app": "x"}, "ports": []}},
    )


@pytest.mark.parametrize(
    ("befalls", "said"),
    [
        (_nowhere, "routes[0].name: HTTPRoute mc does not exist in namespace prod; create it"),
        (
            _not_installed,
            "HTTPRoute mc: this cluster serves no HTTPRoutes of gateway.networking.k8s.io/v1; install",
        ),
        (
            _of_others,
            "HTTPRoute mc leads to billing, and to no Service of this release (mc-api); give a rule",
        ),
        (_in_another_namespace, "HTTPRoute mc leads to mc-api, and to no Service of this release (mc-api)"),
        (_beside_others, "HTTPRoute mc, rules[0] leads to mc-api, legacy side by side"),
        (_sticky, "HTTPRoute mc, rules[0].sessionPersistence holds clients"),
        (_weightless, "HTTPRoute mc, rules[0]: its backend mc-api has weight 0"),
        (_another_port, "its backend mc-api has port 8081, and Service mc-api of 1.0.0 has 80; correct it"),
        (
            _name_is_taken,
            "Service mc-api-green is somebody else's, and routes need that name for the green of mc-api",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_led_is_refused_before_anything_runs(
    befalls: Callable[[Story], None], said: str
) -> None:
    story = behind_a_route()
    befalls(story)
    before = story.deployments()
    story.apply(routed("1.1.0"))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.ROUTE_UNUSABLE)
    assert said in last.message
    assert story.deployments() == before
    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize("verb", ["get", "patch"])
def test_rights_that_are_missing_are_named_before_anything_runs(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = behind_a_route()
    allowed = getattr(story.kube, verb)

    def forbidden(kind: str, *args: object, **kwargs: object) -> object:
        if kind == "HTTPRoute":
            raise ApiError(403, "Forbidden", "httproutes is forbidden")
        return allowed(kind, *args, **kwargs)

    monkeypatch.setattr(story.kube, verb, forbidden)
    story.apply(routed("1.1.0"))
    story.until(lambda: story.status.last_upgrade is not None and story.status.last_upgrade.to == "1.1.0")
    assert story.status.last_upgrade is not None
    assert story.status.last_upgrade.reason == Reason.ROUTE_UNUSABLE
    assert "let it get and patch httproutes of gateway.networking.k8s.io" in story.status.last_upgrade.message


def test_a_route_that_is_applied_a_moment_later_is_waited_for() -> None:
    story = installed(routed("1.0.0"))
    story.apply(routed("1.1.0"))
    story.until(Reason.ROUTE_UNUSABLE).wait(5)
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc"))
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_gateway_that_never_takes_the_route_in_is_refused_before_users_are_moved() -> None:
    story = behind_a_route()
    story.machinery.gateway_runs = False
    story.apply(routed("1.1.0", deadlines={"bringUp": "20s"}))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.ROUTING_UNPROVEN)
    assert "Gateway edge has not taken in HTTPRoute mc yet" in last.message
    assert backends(story) == {"mc-api": 1}


def test_a_gateway_that_never_answers_is_named() -> None:
    story = behind_a_route()
    story.kube.edit(
        "HTTPRoute", NAMESPACE, "mc", {"spec": {"parentRefs": [{"name": "edge"}, {"name": "inner"}]}}
    )
    story.apply(routed("1.1.0", deadlines={"bringUp": "20s"}))
    story.settled()
    assert story.status.last_upgrade is not None
    assert "Gateway inner does not answer for HTTPRoute mc" in story.status.last_upgrade.message


# what is kept


def test_an_upgrade_leaves_the_route_exactly_as_its_owner_wrote_it() -> None:
    story = behind_a_route()
    item = http_route("mc")
    item["metadata"]["labels"] = {"app.kubernetes.io/name": "mc"}
    item["spec"]["rules"][0]["backendRefs"][0]["weight"] = 100
    item["spec"]["rules"].append({"backendRefs": [{"name": "docs", "port": 80, "weight": 1}]})
    story.kube.put("HTTPRoute", NAMESPACE, item)
    story.machinery.settle()
    before = without_status(route(story))
    story.kube.put("Service", NAMESPACE, {"metadata": {"name": "docs"}, "spec": {"ports": []}})
    story.apply(routed("1.1.0"))
    story.until(Phase.RAMPING).until(lambda: led(story).get("1.1.0") == 37)
    now = without_status(route(story))
    assert now["spec"]["rules"][1] == before["spec"]["rules"][1]
    assert now["spec"]["rules"][0] == before["spec"]["rules"][0] | {
        "backendRefs": [
            {"group": "", "kind": "Service", "name": "mc-api-blue", "port": 80, "weight": 63},
            {"group": "", "kind": "Service", "name": "mc-api-green", "port": 80, "weight": 37},
        ]
    }
    story.settled()
    assert without_status(route(story)) == before
    assert names.ANNOTATION_BACKENDS not in route(story)["metadata"]["annotations"]
    assert story.status.traffic.routes == ()


def test_colours_alternate_and_the_route_follows() -> None:
    story = behind_a_route()
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        story.apply(routed(version))
        story.settled()
        assert led(story) == {version: 100}
        assert backends(story) == {"mc-api": 1}


def test_the_first_install_needs_no_route() -> None:
    story = Story(routed("1.0.0")).settled()
    assert story.status.phase is Phase.STABLE
    assert story.serving() == {"1.0.0"}


# several at once


def _two(version: str, **more: object) -> Json:
    components = [api_component(version, 2), gateway_component(version)]
    return spec(version, components=components, traffic=by_route("mc", "edge", ramp=STEPS), **more)


def _behind_two_routes() -> Story:
    story = installed(_two("1.0.0"))
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", "mc-api", "mc-gateway"))
    item = http_route("edge", "mc-gateway")
    for rules in (item["spec"]["rules"], story.kube.list("HTTPRoute", NAMESPACE)[0]["spec"]["rules"][1:]):
        rules[0]["backendRefs"][0]["port"] = 443
    story.kube.put("HTTPRoute", NAMESPACE, item)
    story.machinery.settle()
    return story


def test_all_routes_and_services_are_switched_as_one_effect() -> None:
    story = _behind_two_routes()
    story.apply(_two("1.1.0"))
    story.until(Phase.SOAKING)
    [switch] = [e for e in story.effects if type(e) is SwitchServices]
    assert {patch.service for patch in switch.patches} == {"mc-api", "mc-gateway"}
    assert {patch.route for patch in switch.routes} == {"mc", "edge"}
    weighed = [effect for effect in story.effects if isinstance(effect, WeighRoutes)]
    assert [{patch.route for patch in effect.routes} for effect in weighed] == [{"mc", "edge"}] * 3
    assert backends(story, "mc", 1) == {"mc-gateway-blue": 0, "mc-gateway-green": 100}
    story.settled()
    assert backends(story, "mc", 1) == {"mc-gateway": 1}
    assert led(story, "edge") == {"1.1.0": 100}


def test_a_second_route_that_cannot_be_written_leaves_the_first_as_it_was() -> None:
    story = _behind_two_routes()
    story.apply(_two("1.1.0"))
    story.until(Phase.RAMPING).until(lambda: story.upgrade.step_at is not None)
    before = copy.deepcopy(backends(story, "edge")), backends(story, "mc")
    allowed = story.kube.patch
    refused: list[str] = []

    def patch(kind: str, namespace: str, name: str, operations: object, dry_run: bool = False) -> Object:
        if (kind, name) == ("HTTPRoute", "mc") and not dry_run:
            refused.append(name)
            raise ApiError(500, "InternalError", "etcd is away")
        return allowed(kind, namespace, name, operations, dry_run)  # type: ignore[arg-type]

    story.kube.patch = patch  # type: ignore[method-assign]
    story.until(lambda: bool(refused))
    assert (backends(story, "edge"), backends(story, "mc")) == before
    story.kube.patch = allowed  # type: ignore[method-assign]
    story.settled()
    assert story.status.active_version == "1.1.0"


# what befalls them


def test_a_route_that_is_deleted_in_a_ramp_is_asked_for_and_the_ramp_goes_on_once_it_is_back() -> None:
    story = upgrading(Phase.RAMPING, 37)
    story.kube.drop("HTTPRoute", NAMESPACE, "mc")
    story.wait(3)
    assert story.condition("Stalled") == ("True", Reason.ROUTE_UNUSABLE)
    assert "HTTPRoute mc is gone while users are moved by it; create it again" in story.status.message
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc"))
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.1.0", {"1.1.0": 100})


def test_a_rollback_goes_on_without_a_route_that_was_deleted() -> None:
    story = upgrading(Phase.SOAKING)
    story.kube.drop("HTTPRoute", NAMESPACE, "mc")
    story.health["1.1.0"] = BAD
    story.settled()
    assert (story.status.active_version, story.serving()) == ("1.0.0", {"1.0.0"})


def test_a_rollback_takes_users_back_where_a_colours_own_service_was_deleted() -> None:
    story = upgrading(Phase.SOAKING)
    story.health["1.1.0"] = BAD
    story.until(Phase.ROLLING_BACK)
    story.kube.drop("Service", NAMESPACE, "mc-api-blue")
    before = len(story.effects)
    story.until(lambda: len(story.effects) > before)
    assert led(story) == {"1.0.0": 100}
    assert backends(story) == {"mc-api": 1}
    story.settled()
    assert story.status.active_version == "1.0.0"


def test_a_colours_own_service_that_was_deleted_is_made_again() -> None:
    story = upgrading(Phase.RAMPING, 37)
    story.kube.drop("Service", NAMESPACE, "mc-api-green")
    story.until(Reason.TAKING_ROUTES).until(lambda: "1.1.0" in led(story))
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_colours_own_service_that_somebody_points_elsewhere_is_pointed_back() -> None:
    story = upgrading(Phase.RAMPING, 37)
    change = {"spec": {"selector": {names.LABEL_REVISION: story.upgrade.from_revision}}}
    story.kube.edit("Service", NAMESPACE, "mc-api-green", change)
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.1.0", {"1.1.0": 100})


def test_a_switch_waits_for_what_is_behind_the_route() -> None:
    """Without a ramp too: a Service that somebody pointed elsewhere is put right before everybody is led by it."""
    story = behind_a_route(routed("1.0.0", traffic=by_route()))
    story.apply(routed("1.1.0", traffic=by_route(), approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    change = {"spec": {"selector": {names.LABEL_REVISION: story.upgrade.from_revision}}}
    story.kube.edit("Service", NAMESPACE, "mc-api-green", change)
    approve(story, story.upgrade.id, "switch")
    story.until(Reason.REPAIRING)
    assert led(story) == {"1.0.0": 100}
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.1.0", {"1.1.0": 100})


def test_a_route_that_its_owner_applies_before_the_ramp_is_no_dispute() -> None:
    story = behind_a_route()
    story.apply(routed("1.1.0", approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    for _ in range(4):
        reapplied(story)
        story.wait(2)
    approve(story, story.upgrade.id, "switch")
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert story.status.traffic.reversions == 0


def test_a_route_that_leads_by_a_colour_at_rest_is_led_to_what_serves() -> None:
    """Weights of an upgrade that somebody committed to Git, say: that colour may be another version by now."""
    story = behind_a_route()
    lead_by(story, "mc-api-green")
    story.until(Reason.TRAFFIC_REVERTED).until(Reason.STABLE)
    assert (backends(story), led(story)) == ({"mc-api": 1}, {"1.0.0": 100})


def test_a_deleted_release_gives_the_route_back() -> None:
    story = upgrading(Phase.SOAKING)
    story.change(deletionPolicy="Delete")
    story.wait(2).delete()
    for _ in range(60):
        story.turn()
    assert story.gone
    assert backends(story) == {"mc-api": 1}


def test_a_release_that_is_made_anew_beside_a_ramp_that_stopped_gives_users_what_serves() -> None:
    """Orphan: the route stayed as it was; the new release is led by it again, and moves by it."""
    story = upgrading(Phase.RAMPING, 37)
    assert led(story) == {"1.0.0": 63, "1.1.0": 37}
    story.kube.drop(names.KIND, NAMESPACE, "mc")
    metadata = {"name": "mc", "namespace": NAMESPACE, "uid": "7d2f"}
    story.kube.put(names.KIND, NAMESPACE, {"kind": names.KIND, "metadata": metadata, "spec": routed("1.0.0")})
    story.epoch += 1
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.0.0", {"1.0.0": 100})


def test_what_was_adopted_can_be_ramped_by_a_route() -> None:
    """Pods of others carry no label by which they could be told to serve; a Service of their colour needs none."""
    story = running(adopting(traffic=by_route(ramp=STEPS)))
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc"))
    story.machinery.settle()
    story.until(Phase.RAMPING).until(
        lambda: story.machinery.led(route(story)).get(story.upgrade.to_revision) == 37
    )
    story.settled()
    assert story.status.phase is Phase.STABLE
    assert list(story.machinery.led(route(story))) == [story.status.active_revision]
