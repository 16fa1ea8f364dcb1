"""What `make bench-migrations` makes of its samples: who met which phase, what counts as too long."""

from typing import Any

import pytest

from scenarios.blocking import Window, felt, longest
from scenarios.clients import PULSE, READERS, STANDBY_READERS, WRITERS, Sample
from scenarios.migrations_report import Report

WINDOWS = [Window("expand", 10.0, 20.0), Window("migrate", 20.0, 30.0)]


def test_a_request_that_waits_through_a_phase_counts_in_each_that_it_met() -> None:
    samples = [
        Sample(WRITERS, 9.0, 0.5),
        Sample(WRITERS, 19.0, 3.0),
        Sample(READERS, 25.0, 0.1, "42703"),
        Sample(PULSE, 25.0, 0.7),
    ]
    told = felt(samples, WINDOWS)
    assert (told["expand"][WRITERS]["requests"], longest(told["expand"])) == (1, 3.0)
    assert (told["migrate"][WRITERS]["longestSeconds"], told["migrate"][READERS]["failed"]) == (3.0, 1)
    assert told["migrate"][STANDBY_READERS]["requests"] == 0
    assert told["migrate"][PULSE]["longestSeconds"] == 0.7, "told, and no user's wait"


def test_one_hundredth_may_wait_longer_than_p99() -> None:
    told = felt([Sample(WRITERS, 11.0, number / 1000) for number in range(1, 101)], WINDOWS)["expand"]
    assert (told[WRITERS]["p99Seconds"], told[WRITERS]["longestSeconds"]) == (0.099, 0.1)


def _parts(waited: float, failure: str = "", divergence: int = 0) -> dict[str, Any]:
    def phases(*named: tuple[str, float]) -> dict[str, Any]:
        found = felt([], [])
        for name, seconds in named:
            found |= felt([Sample(WRITERS, 0.0, seconds, failure)], [Window(name, 0.0, 5.0)])
        return found

    ours = phases(("at rest", 0.01), ("expand", waited), ("migrate", 0.05), ("contract", 0.02))
    backfill = {"rowsPerSecond": 20_000, "divergence": divergence}
    return {
        "1/runner": {"phases": ours, "backfill": backfill},
        "1/naive": {"phases": phases(("at rest", 0.01), ("naive script", 8.0))},
    }


def test_what_was_promised_and_the_ratio_to_the_script() -> None:
    kept = Report(1, _parts(0.1))
    assert kept.broken() == []
    assert kept.ratios() == {"longestWait": 80.0, "timeTaken": 3.0}
    assert any("20,000 rows/s" in line for line in kept.lines())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (_parts(1.2), "expand: somebody waited 1.20 s"),
        (_parts(0.1, failure="42703"), "migrate: 1 requests failed"),
        (_parts(0.1, divergence=3), "3 rows differ"),
    ],
)
def test_what_is_not_as_promised_is_named(parts: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in Report(1, parts).broken())
