"""What `make bench-traffic` makes of its repeats: no lost request is hidden in a sum, and no slow one in a median."""

from __future__ import annotations

from typing import Any

from harness.load_summary import KEEP_ALIVE, ONE_SHOT
from traffic import Options, broken, p99, table

OPTIONS = Options(requests=100, repeats=2, clients=10)


def repeat(
    *, new: float | None = 0.2, kept: float | None = 2.0, faults: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "requests": 50,
        "failures": len(faults),
        "faults": list(faults),
        "lastAnswerSeconds": {ONE_SHOT: new, KEEP_ALIVE: kept},
    }


def test_as_promised_is_nothing_to_say() -> None:
    assert list(broken({"Service": [repeat(), repeat()]}, OPTIONS)) == []


def test_one_lost_request_and_requests_that_are_not_made_yet_are_said() -> None:
    said = list(broken({"Service": [repeat(faults=("1 of 50 requests failed",))]}, OPTIONS))
    assert said == [
        "Service, repeat 1: 1 of 50 requests failed",
        "Service: 50 requests so far, 100 are wanted",
    ]


def test_of_few_repeats_the_slowest_is_held_against_the_promise() -> None:
    found = {"GatewayAPI": [repeat(), repeat(kept=0.4)]}
    assert list(broken(found, OPTIONS)) == ["GatewayAPI, kept connections: p99 2.00 s, promised 1 s"]


def test_a_repeat_in_which_nobody_met_the_losing_version_proves_nothing() -> None:
    found = {"Service": [repeat(), repeat(new=None)]}
    assert list(broken(found, OPTIONS)) == [
        "Service: 1 of 2 repeats without new connections on the losing version"
    ]
    assert "0.20 s" in "\n".join(table(found))


def test_p99_is_the_nearest_rank() -> None:
    assert p99([float(number) for number in range(1, 101)]) == 99.0
    assert p99([1.0, 3.0, 2.0]) == 3.0
