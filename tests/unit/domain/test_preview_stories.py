"""Previews on a route: who asks for the candidate reaches it before the switch, and nobody else does."""

import copy
from collections.abc import Callable

import pytest
from tests.unit.domain.plane import Json, api_component, by_route, gateway_component, http_route, migrations
from tests.unit.domain.rollouts.by_route import (
    STEPS,
    behind_a_route,
    led,
    previewed,
    reapplied,
    route,
    routed,
)
from tests.unit.domain.rollouts.planes import approve
from tests.unit.domain.story import BAD, NAMESPACE, Story
from tests.unit.effects.memory_api import managed

from conductor.adapters.kube import ApiError, ConflictError, Object
from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.reasons import Reason
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Phase
from conductor.api.traffic import Preview
from conductor.domain.determine import determine
from conductor.domain.plan import plan
from conductor.domain.revision import Revision
from conductor.domain.traffic import patches
from conductor.domain.traffic.backends import Backends
from conductor.domain.traffic.previews import mark_of
from conductor.effects.make import make

pytestmark = pytest.mark.story

HEADER = {"header": {"name": "X-Preview", "value": "candidate"}}
COOKIE = {"cookie": {"name": "preview", "value": "candidate"}}


def previewing(version: str, preview: Json | None = HEADER, **more: object) -> Json:
    traffic = by_route(ramp=STEPS, **({"preview": preview} if preview else {}))
    return routed(version, **{"traffic": traffic, "approval": {"beforeSwitch": True}, **more})


def waiting(preview: Json = HEADER, item: Object | None = None) -> Story:
    """An upgrade that waits for approval, with a preview on its route."""
    story = behind_a_route()
    if item is not None:
        story.kube.put("Service", NAMESPACE, {"metadata": {"name": "docs"}, "spec": {"ports": []}})
        story.kube.put("HTTPRoute", NAMESPACE, item)
        story.machinery.settle()
    story.apply(previewing("1.1.0", preview))
    return story.until(Reason.AWAITING_APPROVAL)


def rules(story: Story) -> list[Json]:
    found: list[Json] = route(story)["spec"]["rules"]
    return found


def edit_rules(story: Story, new: list[Json], manager: str = "kubectl-edit") -> None:
    change = {"metadata": {"managedFields": [managed(manager)]}, "spec": {"rules": new}}
    story.kube.edit("HTTPRoute", NAMESPACE, "mc", change)
    story.machinery.settle()


def goes_on(story: Story) -> None:
    approve(story, story.upgrade.id, "switch")
    story.settled()
    assert (story.status.active_version, led(story)) == ("1.1.0", {"1.1.0": 100})


# who reaches what


def test_who_sends_the_header_reaches_the_candidate_and_everybody_else_does_not() -> None:
    story = waiting()
    assert led(story) == {"1.0.0": 100}
    assert previewed(story, X_Preview="candidate") == {"1.1.0": 100}
    assert previewed(story, X_Preview="something") == {"1.0.0": 100}
    assert story.upgrade.preview == "header X-Preview: candidate"


@pytest.mark.parametrize(
    ("sent", "version"),
    [
        ("preview=candidate", "1.1.0"),
        ("a=b; preview=candidate; c=d", "1.1.0"),
        ("a=b;preview=candidate", "1.1.0"),
        ("preview=candidates", "1.0.0"),
        ("not-preview=candidate", "1.0.0"),
        ("a=preview=candidate", "1.0.0"),
        ("a=b", "1.0.0"),
    ],
)
def test_a_cookie_is_found_among_others_and_is_taken_for_no_other(sent: str, version: str) -> None:
    assert previewed(waiting(COOKIE), Cookie=sent) == {version: 100}


def test_no_rule_of_the_owner_changes_its_place_or_a_word() -> None:
    item = http_route("mc", "mc-api", "docs", "mc-api")
    item["spec"]["rules"][2]["matches"] = [
        {"path": {"type": "PathPrefix", "value": "/v2"}, "headers": [{"name": "X-Tenant", "value": "a"}]},
        {"path": {"type": "Exact", "value": "/two"}},
    ]
    item["spec"]["rules"][2] |= {"name": "second", "timeouts": {"request": "10s"}}
    story = waiting(item=item)
    first, docs, second, *copies = rules(story)
    assert docs == item["spec"]["rules"][1]
    assert {**second, "backendRefs": 0} == {**item["spec"]["rules"][2], "backendRefs": 0}
    mark = {"type": "Exact", "name": "X-Preview", "value": "candidate"}
    candidate = [{"group": "", "kind": "Service", "name": "mc-api-green", "port": 80, "weight": 1}]
    assert copies == [
        {"matches": [{**first["matches"][0], "headers": [mark]}], "backendRefs": candidate},
        {
            "matches": [
                {**second["matches"][0], "headers": [{"name": "X-Tenant", "value": "a"}, mark]},
                {**second["matches"][1], "headers": [mark]},
            ],
            "timeouts": {"request": "10s"},
            "backendRefs": candidate,
        },
    ]


def test_a_rule_of_a_component_that_only_the_candidate_has_is_not_copied() -> None:
    """No Service of its colour is there before the switch, and a Gateway may drop a route for a backend it lacks."""
    story = behind_a_route()
    story.kube.put("HTTPRoute", NAMESPACE, http_route("mc", "mc-api", "mc-gateway"))
    s = story.observe()
    assert s.active is not None
    newer = parse_spec(
        previewing("1.1.0", components=[api_component("1.1.0", 2), gateway_component("1.1.0")])
    )
    assert isinstance(newer, ReleaseSpec)
    mark, to = mark_of(Preview.model_validate(HEADER)), Revision(hash="newer", spec=newer)
    [patch] = patches.previewing(Backends(s, ("mc",)), mark, s.active, to)
    assert [rule["backendRefs"][0]["name"] for rule in patch.appended] == ["mc-api-blue"]


def test_it_is_there_in_the_ramp_gone_with_the_switch_and_the_route_is_given_back() -> None:
    story = behind_a_route()
    before = copy.deepcopy(route(story)["spec"])
    story.apply(previewing("1.1.0", approval={"beforeSwitch": False}))
    story.until(Phase.RAMPING).until(lambda: led(story).get("1.1.0") == 37)
    assert previewed(story, X_Preview="candidate") == {"1.1.0": 100}
    story.until(Phase.SOAKING)
    assert len(rules(story)) == 1
    assert names.ANNOTATION_PREVIEW not in route(story)["metadata"]["annotations"]
    story.settled().at_rest()
    assert route(story)["spec"] == before
    assert story.status.traffic.reversions == 0
    said = [line for line in story.log if Reason.PREVIEWING in line]
    assert len(said) == 1
    assert "requests with header X-Preview: candidate reach 1.1.0 by HTTPRoute mc" in said[0]


def test_nothing_is_written_while_it_stands() -> None:
    story = waiting()
    before = len(story.kube.writes)
    story.wait(60)
    assert [write for write in story.kube.writes[before:] if write.kind == "HTTPRoute"] == []
    s = story.observe()
    assert plan(s, determine(s)) == plan(s, determine(s))


# the way back


@pytest.mark.parametrize("why", ["verification", "abort", "ramp"])
def test_it_ends_before_the_candidate_goes(why: str) -> None:
    story = waiting()
    upgrade = story.upgrade.id
    if why == "ramp":
        approve(story, upgrade, "switch")
        story.until(lambda: led(story).get("1.1.0") == 37)
    if why == "abort":
        story.annotate(names.ANNOTATION_ABORT, upgrade)
    else:
        story.health["1.1.0"] = BAD
    # That no pod of it goes before is held by an invariant, of every rule.
    story.until(lambda: previewed(story, X_Preview="candidate") == {"1.0.0": 100})
    assert "api/1.1.0" in story.deployments()
    story.settled().at_rest()
    assert story.status.last_upgrade is not None
    assert story.status.active_version == "1.0.0"
    assert rules(story) == http_route("mc")["spec"]["rules"]


def test_what_was_written_by_a_preview_keeps_the_expanded_schema() -> None:
    """The same as where users met the candidate: it is in the new shape alone."""
    story = behind_a_route()
    story.apply(previewing("1.1.0", migrations=migrations("1.1.0")))
    story.until(Reason.AWAITING_APPROVAL)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert f"{Reason.EXPANDED_KEPT}: 1.1.0 may have written" in last.message


# what is left out


def test_a_gateway_that_does_not_know_it_is_named_and_the_upgrade_goes_on_without() -> None:
    story = behind_a_route()
    story.machinery.gateway_refuses_headers = "UnsupportedValue"
    story.apply(previewing("1.1.0", COOKIE))
    story.until(Reason.PREVIEW_LEFT_OUT)
    assert (
        "spec.traffic.preview: nobody reaches 1.1.0 by cookie preview=candidate in this upgrade, which goes on: "
        "Gateway edge does not take in HTTPRoute mc with them (UnsupportedValue"
    ) in story.status.message
    assert "mark by header" in story.status.message
    story.until(Reason.AWAITING_APPROVAL)
    assert len(rules(story)) == 1
    assert story.upgrade.preview_left_out
    story.wait(30)
    assert len(rules(story)) == 1
    story.machinery.gateway_refuses_headers = ""
    story.change(traffic=by_route(ramp=STEPS, preview=HEADER))
    story.until(lambda: previewed(story, X_Preview="candidate") == {"1.1.0": 100})
    goes_on(story)


# other hands


def test_an_owner_who_applies_the_route_takes_it_away_and_it_is_put_back_twice() -> None:
    story = waiting()
    for _ in range(2):
        reapplied(story)
        story.until(lambda: previewed(story, X_Preview="candidate") == {"1.1.0": 100})
    reapplied(story)
    story.until(Reason.PREVIEW_LEFT_OUT)
    assert (
        "written to its route 3 times and did not stay there; leave /spec/rules out" in story.status.message
    )
    story.wait(5)
    assert len(rules(story)) == 1
    assert story.status.traffic.reversions == 0
    goes_on(story)


def test_writes_that_somebody_refuses_hold_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    story = behind_a_route()
    allowed = story.kube.patch

    def patch(kind: str, namespace: str, name: str, operations: list[Json], dry_run: bool = False) -> Object:
        if any(operation["path"] == "/spec/rules/-" for operation in operations):
            raise ApiError(403, "Forbidden", "a webhook denied the request")
        return allowed(kind, namespace, name, operations, dry_run)

    monkeypatch.setattr(story.kube, "patch", patch)
    story.apply(previewing("1.1.0"))
    story.until(Reason.PREVIEW_LEFT_OUT)
    goes_on(story)


def test_a_rule_that_its_owner_changes_is_followed() -> None:
    story = waiting()
    first, *_ = rules(story)
    edit_rules(story, [{**first, "timeouts": {"request": "3s"}}, *rules(story)[1:]])
    story.until(lambda: rules(story)[-1].get("timeouts") == {"request": "3s"})
    assert len(rules(story)) == 2
    goes_on(story)


def test_rules_that_somebody_puts_behind_are_kept_and_given_back_in_their_place() -> None:
    story = waiting()
    behind = copy.deepcopy(http_route("mc", "docs", "mc-api")["spec"]["rules"])
    behind[1]["backendRefs"][0]["weight"] = 7
    edit_rules(story, [*rules(story), *behind])
    story.kube.put("Service", NAMESPACE, {"metadata": {"name": "docs"}, "spec": {"ports": []}})
    goes_on(story)
    assert [rule["backendRefs"][0]["name"] for rule in rules(story)] == ["mc-api", "docs", "mc-api"]
    assert rules(story)[1:] == behind


def test_taken_out_of_the_spec_it_ends_and_another_one_takes_its_place() -> None:
    story = waiting()
    story.change(traffic=by_route(ramp=STEPS, preview=COOKIE))
    story.until(lambda: previewed(story, Cookie="preview=candidate") == {"1.1.0": 100})
    assert previewed(story, X_Preview="candidate") == {"1.0.0": 100}
    assert len(rules(story)) == 2
    story.change(traffic=by_route(ramp=STEPS))
    story.until(lambda: len(rules(story)) == 1)
    goes_on(story)


def test_a_colours_own_service_that_was_deleted_is_made_again() -> None:
    story = waiting()
    reapplied(story)
    story.until(lambda: previewed(story, X_Preview="candidate") == {"1.1.0": 100})
    story.kube.drop("Service", NAMESPACE, "mc-api-green")
    story.until(lambda: previewed(story, X_Preview="candidate") == {"1.1.0": 100})
    goes_on(story)


def test_a_leader_that_was_suspended_offers_nothing_any_more() -> None:
    story = behind_a_route()
    story.apply(previewing("1.1.0"))
    story.until(Phase.VERIFYING)
    held = plan(s := story.observe(), determine(s)).effect
    assert held is not None
    story.epoch += 1
    story.turn()
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, "mc", held)
    assert len(rules(story)) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_whenever_the_operator_dies_over_it_the_next_one_finds_it(moment: str) -> None:
    story = behind_a_route()
    story.apply(previewing("1.1.0"))
    story.until(Phase.VERIFYING)

    def fault(at: object, write: object) -> None:
        if at == moment and getattr(write, "kind", "") == "HTTPRoute" and not getattr(write, "dry_run", True):
            story.kube.fault = None
            raise ApiError(500, "InternalError", "the connection is gone")

    story.kube.fault = fault
    story.until(lambda: story.kube.fault is None)
    story.restart()
    story.until(Reason.AWAITING_APPROVAL)
    assert previewed(story, X_Preview="candidate") == {"1.1.0": 100}
    assert len(rules(story)) == 2
    goes_on(story)


def _forged(text: str) -> Callable[[Story], None]:
    def forge(story: Story) -> None:
        story.kube.edit(
            "HTTPRoute", NAMESPACE, "mc", {"metadata": {"annotations": {names.ANNOTATION_PREVIEW: text}}}
        )

    return forge


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"header": 1, "services": 2}', '{"header": {}}', "null", None]
)
def test_a_record_that_somebody_damages_takes_nothing_of_the_owners(text: str | None) -> None:
    story = behind_a_route()
    _forged(text)(story)  # type: ignore[arg-type]
    story.apply(previewing("1.1.0"))
    story.until(Reason.AWAITING_APPROVAL)
    assert previewed(story, X_Preview="candidate") == {"1.1.0": 100}
    goes_on(story)
    assert rules(story) == http_route("mc")["spec"]["rules"]
