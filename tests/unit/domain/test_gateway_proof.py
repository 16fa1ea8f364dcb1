"""After a switch Gateways are asked themselves, where the administrator said how and where they answered before it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.plane import Json, http_route
from tests.unit.domain.rollouts.by_route import behind_a_route, led, routed, upgrading
from tests.unit.domain.rollouts.planes import approve
from tests.unit.domain.story import NAMESPACE, Story

from conductor.adapters.kube import Object
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase
from conductor.domain.sampling import ProbeOrder, needs
from conductor.domain.traffic.data_plane import Asked, asked

pytestmark = pytest.mark.story

EDGE = "prod/edge"
TARGET = f"HTTPRoute mc by Gateway {EDGE}"


def telling(version: str, **more: object) -> Json:
    """A spec whose check tells the version."""
    check = {
        "component": "api",
        "service": "mc-api",
        "port": "http",
        "path": "/version",
        "versionJson": "version",
    }
    return routed(version, **{"verification": {"http": [check]}, **more})


def begun(**more: object) -> Story:
    """An upgrade whose Gateway may be asked, and answers."""
    story = behind_a_route()
    story.gateways[EDGE] = True
    story.apply(telling("1.1.0", **more))
    return story


def verifying(item: Object | None = None, *checks: Json) -> Story:
    story = behind_a_route()
    if item is not None:
        story.kube.put("HTTPRoute", NAMESPACE, item)
        story.machinery.settle()
    more = {"verification": {"http": list(checks)}} if checks else {}
    story.apply(telling("1.1.0", approval={"beforeSwitch": True}, **more))
    return story.until(Reason.AWAITING_APPROVAL)


def orders(story: Story) -> list[ProbeOrder]:
    return [order for order in needs(story.observe()).probes if order.gateway]


def test_the_switch_is_proven_through_the_gateway_that_answered_before_it() -> None:
    story = begun()
    story.until(Phase.RAMPING)
    assert story.upgrade.gateways == (TARGET,)
    story.until(Phase.SWITCHING).until(lambda: story.upgrade.switched_at is not None)
    story.gateways[EDGE] = False
    story.wait(20)
    assert story.status.phase is Phase.SWITCHING
    assert f"0 of 10 answers in a row through {TARGET}" in story.status.message
    story.gateways[EDGE] = True
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.1.0", {"1.1.0": 100})


def test_a_gateway_that_answers_with_the_former_version_for_a_minute_has_the_switch_taken_back() -> None:
    story = begun()
    story.until(Phase.SWITCHING).until(lambda: story.upgrade.switched_at is not None)
    story.gateways[EDGE] = False
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.ROLLED_BACK, Reason.ROUTING_UNPROVEN)
    assert f"through {TARGET}" in last.message
    assert led(story) == {"1.0.0": 100}


def test_a_gateway_that_cannot_be_asked_from_here_keeps_nobody_from_upgrading() -> None:
    story = behind_a_route()
    story.gateways[EDGE] = False
    story.apply(telling("1.1.0"))
    warned: list[bool] = []
    while story.status.reason != Reason.GATEWAY_NOT_ASKED:
        decided = story.turn()
        assert decided is not None
        warned = [shown.warning for shown in decided.announcements]
    assert warned == [True]
    assert f"1.0.0 never answered through {TARGET} (answered with another version)" in story.status.message
    assert "gatewayAPI.addresses" in story.status.message
    assert story.upgrade.gateways == ()
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_gateway_that_nobody_named_is_not_asked_and_nothing_is_said_of_it() -> None:
    story = behind_a_route()
    story.apply(telling("1.1.0"))
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert not [line for line in story.log if Reason.GATEWAY_NOT_ASKED in line or TARGET in line]


def test_an_operator_that_comes_anew_after_the_switch_asks_as_well() -> None:
    story = begun()
    story.until(Phase.SWITCHING).until(lambda: story.upgrade.switched_at is not None)
    story.restart()
    story.gateways[EDGE] = False
    story.wait(10)
    assert story.status.phase is Phase.SWITCHING
    story.gateways[EDGE] = True
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_route_that_is_deleted_after_the_switch_leads_nobody_and_is_not_waited_for() -> None:
    story = begun()
    story.until(Phase.SWITCHING).until(lambda: story.upgrade.switched_at is not None)
    story.kube.drop("HTTPRoute", NAMESPACE, "mc")
    story.settled()
    assert story.status.active_version == "1.1.0"


def test_a_way_back_asks_nobody() -> None:
    story = begun()
    story.until(Phase.SOAKING)
    story.gateways[EDGE] = False
    story.annotate("maestro-conductor.io/rollback", story.upgrade.id)
    story.until(Phase.ROLLING_BACK)
    assert orders(story) == []
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.0.0", {"1.0.0": 100})


# what is asked


def test_until_the_switch_the_version_that_serves_is_asked_for_now_and_then_and_the_new_one_after_it() -> (
    None
):
    story = verifying()
    [before] = orders(story)
    assert (before.target, before.gateway, before.address) == (TARGET, EDGE, "")
    assert (before.budget, before.concurrency) == (1, 1)
    assert before.rate <= 0.2
    [request] = before.requests
    assert (request.version, request.path, request.host) == ("1.0.0", "/version", "mc.example.org")
    story.gateways[EDGE] = True
    story.until(lambda: TARGET in story.observe().probes)
    approve(story, story.upgrade.id, "switch")
    story.until(Phase.SWITCHING).until(lambda: story.upgrade.switched_at is not None)
    [after] = orders(story)
    assert after.requests[0].version == "1.1.0"
    assert after.rate * 30 > 10 * after.concurrency, (
        "a proof has to come within its minute, whatever came before"
    )
    assert after.since == story.upgrade.switched_at


def _rule(**more: object) -> Object:
    item = http_route("mc")
    item["spec"]["rules"][0] |= more
    return item


def _match(**more: object) -> Object:
    return _rule(matches=[more])


CHECK = {
    "component": "api",
    "service": "mc-api",
    "port": "http",
    "path": "/v1/version?full=1",
    "versionHeader": "X-Version",
}


@pytest.mark.parametrize(
    ("item", "check", "headers"),
    [
        (_match(path={"type": "PathPrefix", "value": "/v1"}), {}, ()),
        (_match(path={"type": "PathPrefix", "value": "/v1/"}), {}, ()),
        (_match(path={"type": "PathPrefix", "value": "/v"}), {}, None),
        (_match(path={"type": "Exact", "value": "/v1/version"}), {}, ()),
        (_match(path={"type": "Exact", "value": "/v1"}), {}, None),
        (_match(path={"type": "RegularExpression", "value": "/v1.*"}), {}, None),
        (_match(method="GET"), {}, ()),
        (_match(method="POST"), {}, None),
        (_match(headers=[{"name": "X-Tenant", "value": "a"}]), {}, (("X-Tenant", "a"),)),
        (_match(headers=[{"name": "X-Tenant", "value": "a\r\nb: c"}]), {}, None),
        (_match(headers=[{"type": "RegularExpression", "name": "X-Tenant", "value": "a.*"}]), {}, None),
        (_match(queryParams=[{"name": "a", "value": "b"}]), {}, None),
        (_rule(filters=[{"type": "URLRewrite", "urlRewrite": {}}]), {}, None),
        (_rule(), {"method": "POST"}, None),
        (_rule(), {"versionHeader": None}, None),
        (_rule(), {"method": "HEAD"}, ()),
    ],
)
def test_only_what_a_rule_takes_in_as_it_is_and_what_changes_nothing_is_asked(
    item: Object, check: Json, headers: tuple[tuple[str, str], ...] | None
) -> None:
    check = {key: value for key, value in {**CHECK, **check}.items() if value is not None}
    found = orders(verifying(item, check))
    assert [request.headers for order in found for request in order.requests] == (
        [] if headers is None else [headers]
    )


def test_a_gateway_is_known_by_its_namespace_and_a_hostname_with_a_star_by_some_name_under_it() -> None:
    item = http_route("mc")
    item["spec"]["parentRefs"] = [{"name": "edge", "namespace": "infra"}]
    item["spec"]["hostnames"] = ["*.example.org"]
    [order] = orders(verifying(item))
    assert (order.gateway, order.requests[0].host) == ("infra/edge", "maestro-conductor.example.org")
    del item["spec"]["hostnames"]
    [order] = orders(verifying(item))
    assert order.requests[0].host is None


def test_an_answer_of_before_says_nothing_and_one_that_is_due_is_waited_for() -> None:
    story = upgrading(Phase.VERIFYING)
    story.gateways[EDGE] = True
    story.apply(telling("1.1.0", soak="30s", approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL).until(lambda: TARGET in story.observe().probes)
    s = story.observe()
    upgrade = story.upgrade
    from_, to = s.revisions[upgrade.from_revision], s.revisions[upgrade.to_revision]
    since, sample = upgrade.phase_started_at, s.probes[TARGET]

    def of(**changes: object) -> Asked:
        return asked(replace(s, probes={TARGET: replace(sample, **changes)}), from_, to, since)  # type: ignore[arg-type]

    assert of() == Asked(answered=(TARGET,))
    assert of(sent=0, failed=0) == Asked(open=(TARGET,))
    assert of(sent=3, failed=3, last_failure="GET /: TimeoutError") == Asked(
        silent=(f"{TARGET} (GET /: TimeoutError)",)
    )
    assert of(since=since - timedelta(seconds=1)) == Asked()
