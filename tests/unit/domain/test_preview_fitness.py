"""Previews that a route cannot hold: refused before anything of a candidate runs, by field and with the mend."""

import pytest
from tests.unit.domain.plane import Json, http_route
from tests.unit.domain.rollouts.by_route import behind_a_route
from tests.unit.domain.story import NAMESPACE
from tests.unit.domain.test_preview_stories import COOKIE, HEADER, goes_on, previewing, rules, waiting

from conductor.adapters.kube import Object
from conductor.api.reasons import Reason
from conductor.api.status import Outcome

pytestmark = pytest.mark.story


def _many_rules(count: int) -> Object:
    return http_route("mc", *["mc-api"] * count)


def _marked(name: str) -> Object:
    item = http_route("mc")
    item["spec"]["rules"][0]["matches"][0]["headers"] = [{"name": name, "value": "x"}]
    return item


def _headers() -> Object:
    item = http_route("mc")
    many = [{"name": f"X-{number}", "value": "x"} for number in range(16)]
    item["spec"]["rules"][0]["matches"][0]["headers"] = many
    return item


def _matches() -> Object:
    item = http_route("mc", "mc-api", "mc-api")
    for rule in item["spec"]["rules"]:
        rule["matches"] = [{"path": {"type": "Exact", "value": f"/{number}"}} for number in range(33)]
    return item


@pytest.mark.parametrize(
    ("item", "preview", "said"),
    [
        (
            _many_rules(9),
            HEADER,
            "HTTPRoute mc has 9 rules, and for previews by header X-Preview: candidate 9 more would stand there: 18, "
            "and a route holds 16; put rules",
        ),
        (
            _marked("x-preview"),
            HEADER,
            "rules[0].matches[0].headers has X-Preview already, and a match holds",
        ),
        (_marked("Cookie"), COOKIE, "rules[0].matches[0].headers has Cookie already"),
        (_headers(), HEADER, "rules[0].matches[0].headers: 16 are as many as there can be"),
        (
            _matches(),
            HEADER,
            "HTTPRoute mc has 66 matches, and for previews by header X-Preview: candidate 66 more",
        ),
    ],
    ids=["rules", "header", "cookie", "headers", "matches"],
)
def test_what_a_route_cannot_hold_is_refused_before_anything_runs(
    item: Object, preview: Json, said: str
) -> None:
    story = behind_a_route()
    story.kube.put("HTTPRoute", NAMESPACE, item)
    story.apply(previewing("1.1.0", preview))
    story.settled()
    last = story.status.last_upgrade
    assert last is not None
    assert (last.outcome, last.reason) == (Outcome.REFUSED, Reason.ROUTE_UNUSABLE)
    assert last.message.startswith("spec.traffic.routes[0].name: HTTPRoute mc")
    assert said in last.message


def test_as_many_rules_as_a_route_can_hold_are_no_hindrance() -> None:
    story = waiting(item=_many_rules(8))
    assert len(rules(story)) == 16
    goes_on(story)
