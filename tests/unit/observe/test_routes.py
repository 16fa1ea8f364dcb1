"""From HTTPRoutes as the API server shows them to what a decision reads of them."""

from typing import Any

import pytest
from tests.unit.domain.plane import by_route, http_route, spec, traffic
from tests.unit.effects.memory_api import MemoryKube, managed

from conductor.adapters.kube import ApiError
from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Phase, ReleaseStatus, TrafficStatus
from conductor.domain.snapshot import RouteGap, RouteParent
from conductor.observe import read
from conductor.observe.routes import read_routes, wanted


def parsed(raw: dict[str, Any]) -> ReleaseSpec:
    found = parse_spec(raw)
    assert isinstance(found, ReleaseSpec), found
    return found


def condition(type_: str, status: str = "True", generation: int = 3, **more: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "observedGeneration": generation, **more}


def parent(*conditions: dict[str, Any]) -> RouteParent:
    item = http_route()
    item["metadata"] |= {"resourceVersion": "7", "generation": 3}
    item["status"] = {"parents": [{"parentRef": {"name": "edge"}, "conditions": list(conditions)}]}
    [found] = read.route(item).parents
    return found


def test_a_route_as_its_owner_wrote_it() -> None:
    item = http_route("mc", "mc-api", "docs")
    item["metadata"] |= {
        "resourceVersion": "7",
        "generation": 3,
        "managedFields": [managed("helm"), {"manager": "traefik", "fieldsV1": {"f:status": {}}}],
    }
    found = read.route(item)
    assert (found.name, found.resource_version, found.generation, found.epoch) == ("mc", "7", 3, -1)
    assert [rule.backends[0]["name"] for rule in found.rules] == ["mc-api", "docs"]
    assert (found.managers, found.parents, found.kept, found.annotated) == (("helm",), (), "", False)


def test_a_route_in_our_hand() -> None:
    item = http_route("mc", sessionPersistence={"type": "Cookie"})
    item["metadata"] |= {
        "resourceVersion": "7",
        "annotations": {names.ANNOTATION_EPOCH: "4", names.ANNOTATION_BACKENDS: "{}"},
    }
    found = read.route(item)
    assert (found.epoch, found.kept, found.annotated, found.rules[0].sticky) == (4, "{}", True, True)


def test_a_gateway_took_a_route_in_as_far_as_the_older_of_its_two_words_goes() -> None:
    assert parent(condition("Accepted"), condition("ResolvedRefs")).generation == 3
    assert parent(condition("Accepted"), condition("ResolvedRefs", generation=2)).generation == 2
    silent = parent(condition("Accepted"))
    assert (silent.generation, silent.accepted, silent.resolved) == (0, True, False)


def test_a_gateway_says_why_it_does_not_take_a_route_in() -> None:
    refs = condition(
        "ResolvedRefs", "False", reason="BackendNotFound", message="service mc-api-blue not found"
    )
    found = parent(condition("Accepted"), refs)
    assert (found.accepted, found.resolved) == (True, False)
    assert found.message == "BackendNotFound: service mc-api-blue not found"


def test_only_gateways_that_the_route_names_have_a_say() -> None:
    item = http_route()
    item["metadata"]["resourceVersion"] = "7"
    item["status"] = {"parents": [{"parentRef": {"name": "of-old"}, "conditions": []}]}
    found = read.route(item)
    assert (found.gateways, found.parents) == (("edge",), ())


def test_gateways_are_known_by_their_namespace_and_users_by_their_hosts() -> None:
    item = http_route()
    item["metadata"] |= {"resourceVersion": "7", "namespace": "prod"}
    item["spec"]["parentRefs"] = [{"name": "edge"}, {"name": "edge", "namespace": "infra"}]
    found = read.route(item)
    assert (found.parent_keys, found.hostnames) == (("prod/edge", "infra/edge"), ("mc.example.org",))


def test_what_a_gateway_dropped_of_a_route_that_it_took_in() -> None:
    dropped = condition("PartiallyInvalid", reason="UnsupportedValue", message="Dropped Rule 2")
    found = parent(condition("Accepted"), condition("ResolvedRefs"), dropped)
    assert (found.accepted, found.dropped) == (True, "UnsupportedValue: Dropped Rule 2")
    assert parent(condition("Accepted"), condition("PartiallyInvalid", "False")).dropped == ""


def test_a_rule_without_backends_and_a_route_without_rules() -> None:
    item = http_route()
    item["metadata"]["resourceVersion"] = "7"
    item["spec"]["rules"] = [{"filters": [{"type": "RequestRedirect"}]}]
    assert read.route(item).rules[0].backends == ()
    del item["spec"]["rules"]
    assert read.route(item).rules == ()


def test_routes_are_read_that_are_in_our_hand_or_that_a_spec_names() -> None:
    in_hand = ReleaseStatus(traffic=TrafficStatus(routes=("old",)))
    assert wanted(None, in_hand, {}) == {"old"}
    assert wanted(parsed(spec(traffic=by_route("mc"))), in_hand, {}) == {"old", "mc"}
    assert wanted(parsed(spec(traffic=traffic())), ReleaseStatus(), {}) == set()


@pytest.mark.parametrize(
    ("phase", "writes"), [(Phase.STABLE, 0), (Phase.PREFLIGHT, 1), (Phase.RAMPING, 0)], ids=str
)
def test_whether_a_route_may_be_written_is_asked_once_it_matters(phase: Phase, writes: int) -> None:
    kube = MemoryKube()
    before = kube.put("HTTPRoute", "prod", http_route("mc"))
    found = read_routes(kube, "prod", ["mc"], phase)
    assert list(found.states) == ["mc"]
    assert [write.dry_run for write in kube.writes] == [True] * writes
    assert kube.get("HTTPRoute", "prod", "mc") == before


def test_what_cannot_be_read_is_told_apart() -> None:
    kube = MemoryKube()
    assert read_routes(kube, "prod", ["mc"], Phase.STABLE).gaps == {"mc": RouteGap.MISSING}
    kube.unserved.add("HTTPRoute")
    assert read_routes(kube, "prod", ["mc"], Phase.STABLE).gaps == {"mc": RouteGap.NOT_SERVED}


@pytest.mark.parametrize(("status", "gap"), [(403, RouteGap.FORBIDDEN), (500, None)])
def test_a_missing_right_is_a_finding_and_a_failing_server_is_none(
    status: int, gap: RouteGap | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kube = MemoryKube()

    def fail(*_: object) -> None:
        raise ApiError(status, "Reason", "said")

    monkeypatch.setattr(kube, "get", fail)
    if gap is None:
        with pytest.raises(ApiError):
            read_routes(kube, "prod", ["mc"], Phase.STABLE)
    else:
        assert read_routes(kube, "prod", ["mc"], Phase.STABLE).gaps == {"mc": gap}
