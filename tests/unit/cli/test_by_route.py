"""What `status` says of an upgrade by routes: who asks for the candidate, and which Gateways are asked."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from conductor.cli.options import Terminal
from conductor.cli.render import release_lines
from conductor.cli.style import Style
from conductor.cli.view import read_release

from .conftest import NOW, Json, StoredReleases, ramping, soaking, stable, waiting_for_approval, written
from .test_render import compare
from .test_verbs import carry_out

HEADER = {"header": {"name": "X-Preview", "value": "candidate"}}
COOKIE = {"cookie": {"name": "preview", "value": "candidate"}}
ASKED = "header X-Preview: candidate"
WHY = (
    "Gateway infra/edge does not take in HTTPRoute mc with them (UnsupportedValue: no regular expressions); a Gateway "
    "need not know regular expressions, by which cookies are found: mark by header"
)
WAY = "HTTPRoute mc by Gateway infra/edge"


def by_route(item: Json, asked: Json | None = None, /, **upgrade: object) -> Json:
    item["spec"]["traffic"] = {"provider": "GatewayAPI", "routes": [{"name": "mc"}]}
    item["spec"]["traffic"] |= {"preview": asked} if asked else {}
    item["status"]["traffic"]["routes"] = ["mc"]
    item["status"]["upgrade"] |= upgrade
    return item


def offered() -> Json:
    """In Verifying, on the routes."""
    return by_route(waiting_for_approval(), HEADER, preview=ASKED, previewed=1)


def left_out() -> Json:
    """In the ramp without, and a Gateway will be asked after the switch."""
    left = {"preview": "cookie preview=candidate", "previewed": 1, "previewLeftOut": True, "previewGap": WHY}
    return by_route(ramping(), COOKIE, **left, gateways=[WAY])


def moved(item: Json, phase: str, reason: str = "", **upgrade: object) -> Json:
    item["status"] |= {"phase": phase, "reason": reason or phase}
    item["status"]["upgrade"] |= upgrade
    return item


def shown(item: Json, label: str) -> list[str]:
    lines = release_lines(read_release(item), NOW, Style(width=400))
    return [line.removeprefix(label).strip() for line in lines if line.startswith(label)]


@pytest.mark.parametrize("make", [offered, left_out])
def test_on_one_screen_of_eighty_columns(make: Callable[[], Json]) -> None:
    lines = release_lines(read_release(make()), NOW, Style(width=80))
    compare(f"by_route_{make.__name__}", lines)
    begins = next(index for index, line in enumerate(lines) if line.startswith("Preview"))
    assert max(map(len, lines[begins : lines.index("", begins)])) <= 80


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            by_route(moved(waiting_for_approval(), "Preflight"), HEADER),
            "○ {}; not on the routes before Verifying",
        ),
        (by_route(moved(waiting_for_approval(), "Verifying"), HEADER), "○ {}; not on the routes yet"),
        (moved(offered(), "Verifying", "PreviewOffered"), "● {}; being put on the routes"),
        (
            moved(offered(), "Verifying", "WriteFailed", intent={"effect": "WeighRoutes"}),
            "● {}; being put on the routes",
        ),
        (offered(), "✓ {}; on the routes, leads to 1.1.0"),
        # Its pods are brought up again, its rules stay.
        (moved(offered(), "BringingUp"), "✓ {}; on the routes, leads to 1.1.0"),
        (moved(offered(), "Ramping"), "✓ {}; on the routes, leads to 1.1.0"),
        # What is refused there are the weights.
        (
            moved(offered(), "Ramping", "WriteFailed", intent={"effect": "WeighRoutes"}),
            "✓ {}; on the routes, leads to 1.1.0",
        ),
        (moved(offered(), "Switching"), "✓ {}; on the routes, leads to 1.1.0"),
        (
            moved(offered(), "Switching", switchedAt="2026-03-01T11:59:00.000Z"),
            "– {}; taken off the routes with the switch",
        ),
        (
            moved(offered(), "Soaking", switchedAt="2026-03-01T11:59:00.000Z"),
            "– {}; taken off the routes with the switch",
        ),
        (moved(offered(), "BackingOut"), "– {}; is taken off the routes with the way back"),
        (
            moved(offered(), "RollingBack", switchedAt="2026-03-01T11:59:00.000Z"),
            "– {}; is taken off the routes with the way back",
        ),
        (
            moved(offered(), "Soaking", previewLeftOut=True, previewGap="so"),
            "! {}; left out (PreviewLeftOut): so",
        ),
        # The CRD is older than the operator.
        (moved(offered(), "Ramping", previewLeftOut=True), "! {}; left out (PreviewLeftOut)"),
    ],
)
def test_whether_the_candidate_can_be_asked_for_now(item: Json, said: str) -> None:
    assert shown(item, "Preview") == [said.format(ASKED)]


def test_a_cookie_is_named_as_in_the_spec() -> None:
    item = by_route(moved(waiting_for_approval(), "Migrating"), COOKIE)
    assert shown(item, "Preview") == ["○ cookie preview=candidate; not on the routes before Verifying"]


@pytest.mark.parametrize(
    "item",
    [
        stable(),
        waiting_for_approval(),
        by_route(waiting_for_approval()),
        by_route(soaking(), HEADER),
        # A first install: nobody is led elsewhere.
        by_route(waiting_for_approval(), HEADER, **{"from": ""}),
        # The spec asks for something else by now, and this upgrade keeps the one that it began with.
        by_route(waiting_for_approval(), HEADER, to="1.0.5"),
    ],
    ids=["at rest", "by Services", "by routes", "after the switch", "first install", "another version"],
)
def test_no_line_where_nobody_is_to_ask_for_a_candidate(item: Json) -> None:
    assert shown(item, "Preview") == []


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ([], "none is asked, what they say of the routes counts alone"),
        ([WAY], f"asked after the switch: {WAY}"),
        ([f"{WAY}{n}" for n in range(5)], f"asked after the switch: {WAY}0, {WAY}1, {WAY}2, and 2 more"),
    ],
)
@pytest.mark.parametrize("phase", ["Ramping", "Switching", "Soaking", "Closing"])
def test_which_gateways_are_asked(ways: list[str], said: str, phase: str) -> None:
    assert shown(moved(by_route(soaking(), gateways=ways), phase), "Gateways") == [said]


@pytest.mark.parametrize(
    "item",
    [
        stable(),
        soaking(),
        by_route(waiting_for_approval()),
        # A way back never asks.
        moved(by_route(soaking(), gateways=[WAY]), "RollingBack"),
        by_route(soaking(), **{"from": ""}),
    ],
    ids=["at rest", "by Services", "not decided", "way back", "first install"],
)
def test_no_line_where_no_gateway_is_to_be_asked(item: Json) -> None:
    assert shown(item, "Gateways") == []


def test_json_has_both_as_they_stand_in_the_status(out: Terminal) -> None:
    carry_out(StoredReleases(left_out()), out, "status", "mc", "--json")
    upgrade = json.loads(written(out))["status"]["upgrade"]
    assert upgrade["gateways"] == [WAY]
    assert {key: upgrade[key] for key in ("preview", "previewed", "previewLeftOut", "previewGap")} == {
        "preview": "cookie preview=candidate",
        "previewed": 1,
        "previewLeftOut": True,
        "previewGap": WHY,
    }
