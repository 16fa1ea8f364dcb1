"""The load generator's report: read, judged, and added up with another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.load_summary import KEEP_ALIVE, ONE_SHOT, merge, parse_progress, parse_summary


def latency(**buckets: int) -> dict[str, Any]:
    edges = [[float(name.removeprefix("ms")), count] for name, count in buckets.items()]
    return {"p50_ms": 0, "p95_ms": 0, "p99_ms": 0, "max_ms": edges[-1][0], "buckets": edges}


def answers(count: int, first: str, last: str, begun: str = "00.900") -> dict[str, Any]:
    day = "2026-03-01T10:00:"
    return {
        "answers": count,
        "first": f"{day}{first}Z",
        "last": f"{day}{last}Z",
        "begun": f"{day}{begun}Z",
    }


def report(**changes: Any) -> dict[str, Any]:
    version = {
        "answers": 100,
        "failures": 0,
        "keepalive": answers(40, "01.500", "20.250", "19.100"),
        "oneshot": answers(60, "01.000", "19.000"),
        "latency": latency(ms1=95, ms50=5),
    }
    raw = {
        "loop": "closed with think time",
        "started_at": "2026-03-01T10:00:00.000Z",
        "ended_at": "2026-03-01T10:00:30.000Z",
        "requests": 100,
        "failures": 0,
        "failures_by_kind": {},
        "creates": 35,
        "connections": {"opened": 61, "told_to_close": 2, "idle_closed": 1, "idle_reset": 0},
        "versions": {"1.0.0": version},
        "latency": latency(ms1=95, ms50=5),
        "longest_gap": {"ms": 700, "client": 3, "until": "2026-03-01T10:00:20.000Z"},
        "writes": {
            "acknowledged": 35,
            "verified": True,
            "missing": 0,
            "duplicates": 0,
            "unacknowledged": 0,
            "unacknowledged_present": 0,
        },
        "seconds": [[0, 50, 0, {"1.0.0": 50}], [1, 50, 0, {"1.0.0": 50}]],
        "failure_samples": [],
    }
    return raw | changes


def at(second: int, milliseconds: int = 0) -> datetime:
    return datetime(2026, 3, 1, 10, 0, second, milliseconds * 1000, tzinfo=UTC)


def test_answers_are_told_by_version_and_kind_of_client() -> None:
    summary = parse_summary(report())
    assert summary.first_answer("1.0.0", ONE_SHOT) == at(1)
    assert summary.last_answer("1.0.0", KEEP_ALIVE) == at(20, 250)
    assert summary.last_answer("1.1.0", KEEP_ALIVE) is None
    assert summary.last_begun("1.0.0", KEEP_ALIVE) == at(19, 100)
    assert summary.latency.quantile_ms(0.95) == 1
    assert summary.latency.quantile_ms(0.96) == 50
    assert summary.seconds[1].versions == {"1.0.0": 50}


def test_a_run_without_loss_has_no_faults() -> None:
    assert parse_summary(report()).faults() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failures": 2, "failures_by_kind": {"lost": 2}}, "2 of 100 requests failed: {'lost': 2}"),
        ({"writes": report()["writes"] | {"missing": 1}}, "1 acknowledged ids are missing"),
        ({"writes": report()["writes"] | {"duplicates": 3}}, "3 are there twice"),
        ({"writes": report()["writes"] | {"verified": False, "error": "no route"}}, "not verified: no route"),
    ],
)
def test_every_loss_is_a_fault(changes: dict[str, Any], says: str) -> None:
    (fault,) = parse_summary(report(**changes)).faults()
    assert says in fault


def test_runs_add_up() -> None:
    other = report(
        started_at="2026-03-01T09:59:00.000Z",
        failures=1,
        failures_by_kind={"reset": 1},
        longest_gap={"ms": 900, "client": 1, "until": "2026-03-01T10:00:20.000Z"},
        versions={
            "1.0.0": report()["versions"]["1.0.0"] | {"keepalive": answers(40, "00.100", "05.000")},
            "1.1.0": report()["versions"]["1.0.0"],
        },
    )
    both = merge([parse_summary(report()), parse_summary(other)])
    assert (both.requests, both.failures, both.failures_by_kind) == (200, 1, {"reset": 1})
    assert both.started_at == datetime(2026, 3, 1, 9, 59, tzinfo=UTC)
    assert both.first_answer("1.0.0", KEEP_ALIVE) == at(0, 100)
    assert both.last_answer("1.0.0", KEEP_ALIVE) == at(20, 250)
    assert both.last_begun("1.0.0", KEEP_ALIVE) == at(19, 100)
    assert both.versions["1.0.0"].answers == 200
    assert both.versions["1.1.0"].answers == 100
    assert both.latency.buckets == {1.0: 190, 50.0: 10}
    assert both.longest_gap_ms == 900
    assert both.writes.acknowledged == 70
    assert both.connections["opened"] == 122


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="merge at least one run"):
        merge([])


def test_progress_is_one_second() -> None:
    progress = parse_progress(
        {
            "at": "2026-03-01T10:00:02.000Z",
            "elapsed_s": 2.0,
            "requests": 700,
            "failures": 0,
            "connections": 50,
            "second_requests": 350,
            "second_failures": 0,
            "second_p95_ms": 4.1,
            "second_versions": {"1.0.0": 350},
        }
    )
    assert progress.at == at(2)
    assert progress.second_versions == {"1.0.0": 350}
