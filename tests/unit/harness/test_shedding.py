"""What the report of single clients says of a turn: when each left the losing version, and the longest gap it felt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.load_run import HeldClients, LoadPlan
from harness.load_summary import WEBSOCKET, ClientReport, Gap, parse_summary
from harness.shedapp import load_plan
from harness.shedding import Capacity, Turn, quantile

from .test_load_summary import report

BEGAN = datetime(2026, 3, 1, 10, 0, 10, tzinfo=UTC)
NO_MATTER = Capacity(serving=1, standby=1, replicas=1, started=0)


def turn(losing: str, began: float, ended: float) -> Turn:
    return Turn(losing, BEGAN + timedelta(seconds=began), BEGAN + timedelta(seconds=ended), NO_MATTER)


def client(**changes: Any) -> ClientReport:
    """It was on 1.0.0, left it 4 s after the switch, and left 1.1.0 again 2 s after the decision to go back."""
    day = "2026-03-01T10:00:"
    raw = {
        "number": 7,
        "kind": "websocket",
        "answers": 60,
        "failures": 0,
        "connections": 3,
        "told_to_close": 2,
        "asked_again": 1,
        "spans": [
            {"version": "1.0.0", "answers": 20, "first": f"{day}01.000Z", "last": f"{day}14.000Z"},
            {"version": "1.1.0", "answers": 20, "first": f"{day}14.600Z", "last": f"{day}32.000Z"},
            {"version": "1.0.0", "answers": 20, "first": f"{day}32.500Z", "last": f"{day}40.000Z"},
        ],
        "gaps": [
            {"ms": 900, "until": f"{day}32.500Z"},
            {"ms": 800, "until": f"{day}05.000Z"},
            {"ms": 600, "until": f"{day}14.600Z"},
        ],
        "longest_wait_ms": 310,
    }
    (found,) = parse_summary(report(clients=[raw | changes])).clients
    return found


def test_a_client_is_moved_by_each_turn_and_felt_the_gap_of_that_turn() -> None:
    forward, back = turn("1.0.0", 0, 20), turn("1.1.0", 20, 35)
    found = client()
    assert found.kind == WEBSOCKET
    assert found.versions() == ["1.0.0", "1.1.0", "1.0.0"]
    assert (forward.left_after(found), back.left_after(found)) == (4.0, 2.0)
    assert (forward.longest_gap(found), back.longest_gap(found)) == (0.6, 0.9)
    assert found.longest_wait_seconds == 0.31


def test_a_client_that_never_heard_the_losing_version_was_not_moved() -> None:
    assert turn("1.2.0", 0, 20).left_after(client()) is None


def test_a_client_that_had_left_before_the_decision_left_at_once() -> None:
    assert turn("1.0.0", 10, 20).left_after(client()) == 0.0


def test_where_no_kept_gap_ended_in_a_turn_the_shortest_kept_bounds_it() -> None:
    found = client(gaps=[{"ms": ms, "until": "2026-03-01T10:00:01.000Z"} for ms in (900, 700)])
    assert found.longest_gap_seconds(BEGAN, BEGAN + timedelta(seconds=5)) == 0.7
    assert found.gaps[0] == Gap(0.9, BEGAN - timedelta(seconds=9))


def test_reports_without_clients_of_their_own_are_read_as_ever() -> None:
    assert parse_summary(report()).clients == ()


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == value


def test_a_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="none given"):
        quantile([], 0.5)


def test_clients_that_hold_their_connection_are_flags_of_the_generator() -> None:
    plan = LoadPlan("http://x/", held={"grpc_stream": HeldClients(4, 82)}, each_client=True)
    assert {"-grpc-stream=4", "-grpc-stream-port=82", "-each-client=true"} <= set(plan.arguments())
    assert not any(flag.startswith(("-h2", "-each-client")) for flag in LoadPlan("http://x/").arguments())


def test_every_protocol_has_as_many_clients_at_the_same_pace() -> None:
    plan = load_plan("ns", clients=6, pace_seconds=0.5)
    assert plan.keep_alive_clients == 6
    assert {clients.count for clients in plan.held.values()} == {6}
    assert plan.rate == 5 * 6 / 0.5
