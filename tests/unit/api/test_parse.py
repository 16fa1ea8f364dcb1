"""Bad input comes back as findings that name field, value and mend; good input as models."""

from typing import Any

import pytest
from tests.unit.domain.plane import (
    Json,
    api_component,
    by_route,
    migrations,
    pair,
    spec,
    traffic,
    worker_component,
)

from conductor.api.parse import Finding, UnknownStatusError, parse_spec, parse_status
from conductor.api.spec import Handover, ReleaseSpec
from conductor.api.status import Phase


def findings(raw: Json) -> tuple[Finding, ...]:
    found = parse_spec(raw)
    assert not isinstance(found, ReleaseSpec), "nothing was found wrong"
    return found


def only(raw: Json) -> str:
    [finding] = findings(raw)
    return str(finding)


def test_good_input_is_a_model_with_defaults() -> None:
    found = parse_spec(spec("1.4.0-rc.1", components=[api_component("1"), worker_component("1")]))

    assert isinstance(found, ReleaseSpec)
    assert found.traffic.switch_health.error_rate == 0.01
    assert found.component("worker").effective_handover is Handover.EXCLUSIVE
    assert found.component("api").effective_handover is None
    assert found.deadlines.rollback.total_seconds() == 120


@pytest.mark.parametrize(
    "version", ["1.4", "v1.4.0", "1.4.0+build", "01.4.0", "", "latest", "1.4.0\n", "1.4.0-"]
)
def test_a_version_that_is_not_semantic(version: str) -> None:
    finding = only(spec(version))
    assert finding.startswith("spec.version: ")
    assert finding.endswith("is not a semantic version; write MAJOR.MINOR.PATCH like 1.4.0 or 1.4.0-rc.1")


@pytest.mark.parametrize(("weights", "words"), [((50, 10), "from 50 to 10"), ((10, 10), "from 10 to 10")])
def test_weights_that_fall(weights: tuple[int, ...], words: str) -> None:
    raw = spec(traffic=traffic(ramp=[{"weight": weight} for weight in weights]))
    assert only(raw).startswith("spec.traffic.ramp: ")
    assert f"weights fall {words}; each step must be greater than the one before" in only(raw)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (traffic(provider="GatewayAPI"), "routes is empty, and provider is GatewayAPI; name the HTTPRoutes"),
        (
            traffic(routes=[{"name": "mc"}]),
            "routes names mc, and provider is Service, which moves no route; set",
        ),
        (by_route("mc", "edge", "mc"), "routes names HTTPRoute mc twice; name each route once"),
    ],
)
def test_routes_and_their_provider_go_together(section: Json, words: str) -> None:
    said = only(spec(traffic=section))
    assert said.startswith("spec.traffic: ")
    assert words in said


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            {"waiter": {"image": "drain:1"}, "httpGet": {"path": "/drain", "port": 80}},
            "has both httpGet and waiter; a container has one preStop hook, take one of them out",
        ),
        (
            {"drainSeconds": 2, "waiter": {"image": "drain:1"}},
            "waiter.settleSeconds 3 is longer than drainSeconds 2, and the hook ends by then; lower settleSeconds",
        ),
    ],
)
def test_a_waiter_has_the_hook_for_itself_and_time_to_settle(hook: Json, words: str) -> None:
    said = only(spec(preStopHook=hook))
    assert said.startswith("spec.preStopHook: ")
    assert words in said


def test_a_route_has_a_name_that_an_object_can_have() -> None:
    assert only(spec(traffic=by_route("Edge_1"))).startswith('spec.traffic.routes[0].name: "Edge_1"')
    assert isinstance(parse_spec(spec(traffic=by_route("edge.v1"))), ReleaseSpec)


def in_components(**more: Any) -> Json:
    return spec(components=[api_component("1.0.0", **more)])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (spec(vresion="1.0.0"), 'spec.vresion: "1.0.0" is not a known field; did you mean version?'),
        (
            spec(traffic={"curent": "blue"}),
            'spec.traffic.curent: "blue" is not a known field; did you mean current?',
        ),
        (
            in_components(replica=3),
            "spec.components[0].replica: 3 is not a known field; did you mean replicas?",
        ),
        (
            spec(traffic=traffic(switchHealth={"error_rates": 1})),
            "spec.traffic.switchHealth.error_rates: 1 is not a known field; did you mean errorRate?",
        ),
        (
            spec(sok="x"),
            'spec.sok: "x" is not a known field; did you mean soak?',
        ),
        (
            spec(approval={"zzz": 1}),
            "spec.approval.zzz: 1 is not a known field; remove it (known here: beforeContract, beforeSwitch)",
        ),
    ],
)
def test_an_unknown_field_and_what_was_meant(raw: Json, words: str) -> None:
    assert only(raw) == words


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (["version"], "spec.version"),
        (["components"], "spec.components"),
        (["metrics"], "spec.metrics"),
        (["components", 0, "name"], "spec.components[0].name"),
        (["components", 0, "template"], "spec.components[0].template"),
        (
            ["components", 0, "services", 0, "ports", 0, "port"],
            "spec.components[0].services[0].ports[0].port",
        ),
    ],
)
def test_a_missing_field(path: list[Any], field: str) -> None:
    raw = spec()
    node: Any = raw
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]
    assert f"{field}: (missing) is required; add it" in [str(finding) for finding in findings(raw)]


@pytest.mark.parametrize(
    ("logins", "words"),
    [
        (
            {"blue": "mc", "green": "mc"},
            'spec.migrations.logins: {"blue": "mc", "green": "mc"} names mc for both colours, a fence would cut off '
            "the version that serves; give each colour a role of its own",
        ),
        (
            {"blue": "pg_monitor", "green": "mc"},
            'spec.migrations.logins.blue: "pg_monitor" begins with pg_, which PostgreSQL keeps for itself; name a role '
            "of yours",
        ),
        ({"blue": "mc"}, "spec.migrations.logins.green: (missing) is required; add it"),
        (
            {"blue": "mc; DROP ROLE x", "green": "mc"},
            'spec.migrations.logins.blue: "mc; DROP ROLE x" is no role name; use letters, digits and _ - . @ $, as in '
            "mc_blue",
        ),
    ],
)
def test_login_roles_that_cannot_be_told_apart_or_named(logins: Json, words: str) -> None:
    assert only(spec(migrations=migrations("1.0.0", logins=logins))) == words


def with_target_port(port: Any) -> Json:
    component = api_component("1.0.0")
    component["services"][0]["ports"][0]["targetPort"] = port
    return spec(components=[component])


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        (in_components(replicas=0), "spec.components[0].replicas", "0"),
        (in_components(replicas="three"), "spec.components[0].replicas", '"three"'),
        (in_components(name="Api_1"), "spec.components[0].name", '"Api_1"'),
        (spec(soak="ten minutes"), "spec.soak", '"ten minutes"'),
        (spec(deadlines={"rampUp": "1m"}), "spec.deadlines.rampUp", '"1m"'),
        (spec(traffic=traffic(current="red")), "spec.traffic.current", '"red"'),
        (spec(traffic=traffic(ramp=[{"weight": 5, "hold": "x"}])), "spec.traffic.ramp[0].hold", '"x"'),
        (spec(traffic=traffic(switchHealth={"errorRate": 1})), "spec.traffic.switchHealth.errorRate", "1"),
        (spec(traffic=traffic(switchHealth={"window": "5s"})), "spec.traffic.switchHealth.window", '"5s"'),
        (spec(strategy="Canary"), "spec.strategy", '"Canary"'),
        (spec(components=[]), "spec.components", "[]"),
        (
            spec(metrics={"prometheus": {"url": "prometheus:9090"}}),
            "spec.metrics.prometheus.url",
            '"prometheus:9090"',
        ),
        (
            with_target_port("Not A Name"),
            "spec.components[0].services[0].ports[0].targetPort",
            '"Not A Name"',
        ),
        (with_target_port([]), "spec.components[0].services[0].ports[0].targetPort", "[]"),
        (spec(soak="999999999999999h"), "spec.soak", '"999999999999999h"'),
        (spec(deadlines={"ramp": "99999999h"}), "spec.deadlines.ramp", '"99999999h"'),
    ],
)
def test_a_value_that_cannot_be_is_named_once_with_its_path(raw: Json, field: str, value: str) -> None:
    [finding] = findings(raw)
    assert (finding.field, finding.value) == (field, value)
    assert ";" in finding.mend, "the mend is told"


def check(**more: str) -> Json:
    return {"component": "api", "service": "mc-api", "port": "http", "path": "/", **more}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (
            spec(components=[api_component("1"), api_component("1")]),
            "names component 'api' twice; give each component a name of its own",
        ),
        (
            spec(components=[api_component("1"), api_component("1", name="other")]),
            "names Service 'mc-api' twice; a Service belongs to one component",
        ),
        (spec(verification={"http": []}), "verification.http is empty; name at least one request"),
        (
            spec(verification={"http": [check(service="mc-apo")]}),
            "verification.http[0] checks api/mc-apo/http, which no component declares; use names from",
        ),
    ],
)
def test_fields_that_disagree(raw: Json, words: str) -> None:
    finding = only(raw)
    assert finding.startswith("spec: ")
    assert words in finding


def test_a_component_has_services_or_a_handover() -> None:
    finding = only(in_components(handover="Exclusive"))
    assert finding.startswith("spec.components[0]: ")
    assert "has both services and handover" in finding


def test_several_things_wrong_are_all_told() -> None:
    raw = spec("1.4", soak="x", components=[api_component("1", replicas=-1)])
    assert {finding.field for finding in findings(raw)} == {
        "spec.version",
        "spec.soak",
        "spec.components[0].replicas",
    }


def test_a_long_value_is_cut() -> None:
    assert len(findings(spec("9" * 60_000))[0].value) <= 80


NEWER = {"phase": "Soaking", "newField": {"a": 1}, "traffic": {"current": "green", "purple": 5}}


def test_a_newer_operators_fields_decide_nothing_and_are_carried_along() -> None:
    status = parse_status(NEWER)
    assert status.phase is Phase.SOAKING
    assert parse_status(None).phase is Phase.PENDING

    changed = status.model_copy(
        update={"message": "m", "traffic": status.traffic.model_copy(update={"blue": 1})}
    )
    written = changed.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["newField"] == {"a": 1}
    assert written["traffic"]["purple"] == 5
    assert parse_status(written) == changed


def test_a_newer_operators_reason_is_only_a_word_for_people() -> None:
    assert parse_status({"reason": "BecauseOfTomorrow"}).reason == "BecauseOfTomorrow"


UPGRADE = {
    "id": "u1",
    "sequence": 1,
    "to": "1.1.0",
    "toRevision": "0a",
    "toColour": "green",
    "startedAt": "2026-03-01T12:00:00Z",
    "phaseStartedAt": "2026-03-01T12:00:00Z",
}


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        ({"phase": "Canarying"}, "status.phase", '"Canarying"'),
        ({"traffic": {"current": "purple"}}, "status.traffic.current", '"purple"'),
        (
            {
                "upgrade": UPGRADE
                | {"failure": {"reason": "Unhealthy", "message": "", "outcome": "Quarantined"}}
            },
            "status.upgrade.failure.outcome",
            '"Quarantined"',
        ),
        (
            {
                "upgrade": UPGRADE
                | {"timeline": [{"phase": "Canarying", "startedAt": "2026-03-01T12:00:00Z"}]}
            },
            "status.upgrade.timeline[0].phase",
            '"Canarying"',
        ),
        ({"upgrade": {"id": "u1"}}, "status.upgrade.sequence", "(missing)"),
        (
            {"conditions": [{"type": "Ready", "status": "Perhaps", "reason": "R"}]},
            "status.conditions[0].status",
            '"Perhaps"',
        ),
    ],
)
def test_a_status_that_cannot_be_read_names_field_value_and_mend(raw: Json, field: str, value: str) -> None:
    with pytest.raises(UnknownStatusError) as caught:
        parse_status(raw)
    finding = caught.value.finding
    assert (finding.field, finding.value) == (field, value)
    assert "Run that operator again" in finding.mend


def strict(**more: Any) -> Json:
    return pair("1.0.0", traffic=traffic(consistency="Strict", **more))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            strict(),
            "traffic.edge is not given, consistency is Strict, and users could come in by mc-back, mc-front; name",
        ),
        (
            strict(edge="mc-side"),
            "traffic.edge names mc-side, which no component declares; name one of mc-back",
        ),
        (
            pair("1.0.0", traffic=traffic(edge="mc-front")),
            "edge names mc-front, and consistency is Fast, which has none; set consistency to Strict",
        ),
        (
            strict(edge="mc-front", provider="GatewayAPI", routes=[{"name": "mc"}]),
            "edge names mc-front, and provider is GatewayAPI, where the route is the edge; take edge out",
        ),
        (
            strict(provider="GatewayAPI", routes=[{"name": "mc"}, {"name": "grpc"}]),
            "routes names mc, grpc, and with consistency Strict one object leads users; put their rules into one",
        ),
    ],
)
def test_strict_has_one_edge(section: Json, words: str) -> None:
    found = only(section)
    assert found.startswith("spec")
    assert words in found


def test_a_service_must_not_have_the_name_of_a_colour_of_another() -> None:
    raw = strict(edge="mc-front")
    raw["components"][0]["services"][0]["name"] = "mc-front-blue"
    assert "names Service 'mc-front-blue', which traffic.consistency Strict needs for one colour" in only(raw)


def test_one_service_alone_is_its_own_edge_and_so_is_one_route() -> None:
    for raw in (
        spec(traffic=traffic(consistency="Strict")),
        strict(edge="mc-front"),
        strict(provider="GatewayAPI", routes=[{"name": "mc"}]),
    ):
        assert isinstance(parse_spec(raw), ReleaseSpec)
