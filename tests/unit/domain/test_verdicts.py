"""Verdicts: what counts as Healthy, and how many requests it takes to say so."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor.api.spec import SwitchHealth
from conductor.api.status import Verdict
from conductor.domain.snapshot import HealthSample
from conductor.domain.verdicts import judge, required_requests

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = SwitchHealth()
GOOD = HealthSample("r1", NOW, requests=1000, errors=0, p95_ms=20)


@pytest.mark.parametrize(
    ("error_rate", "miss_rate", "needed"),
    [(0.01, 0.001, 688), (0.05, 0.001, 135), (0.01, 0.05, 299), (0.001, 0.001, 6905), (0.5, 0.5, 1)],
)
def test_how_many_requests_a_verdict_needs(error_rate: float, miss_rate: float, needed: int) -> None:
    assert required_requests(SwitchHealth(error_rate=error_rate, miss_rate=miss_rate)) == needed


@given(st.floats(0.0001, 0.9), st.floats(0.0001, 0.9))
def test_it_is_the_smallest_number_that_misses_rarely_enough(error_rate: float, miss_rate: float) -> None:
    needed = required_requests(SwitchHealth(error_rate=error_rate, miss_rate=miss_rate))
    assert (1 - error_rate) ** needed <= miss_rate * (1 + 1e-9)
    assert (1 - error_rate) ** (needed - 1) > miss_rate * (1 - 1e-9)


def test_a_version_five_times_over_the_limit_is_all_but_never_missed() -> None:
    needed, rate = 688, 0.05
    missed = sum(math.comb(needed, k) * rate**k * (1 - rate) ** (needed - k) for k in range(7))
    assert missed < 2e-9


@pytest.mark.parametrize(
    ("sample", "verdict", "message"),
    [
        (GOOD, Verdict.HEALTHY, "0 of 1000 requests failed, p95 20 ms"),
        (replace(GOOD, errors=10), Verdict.HEALTHY, "10 of 1000 requests failed, p95 20 ms"),
        (replace(GOOD, errors=11), Verdict.UNHEALTHY, "1.10% of 1000 requests failed, the limit is 1%"),
        (replace(GOOD, p95_ms=900), Verdict.HEALTHY, "0 of 1000 requests failed, p95 900 ms"),
        (replace(GOOD, p95_ms=901), Verdict.UNHEALTHY, "p95 is 901 ms, the limit is 900 ms"),
        (replace(GOOD, requests=687), Verdict.NO_DATA, "687 of the 688 requests that a verdict needs"),
        (replace(GOOD, requests=688), Verdict.HEALTHY, "0 of 688 requests failed, p95 20 ms"),
        (
            replace(GOOD, requests=10, errors=6),
            Verdict.NO_DATA,
            "10 of the 688 requests that a verdict needs",
        ),
        (
            replace(GOOD, requests=10, errors=7),
            Verdict.UNHEALTHY,
            "70.00% of 10 requests failed, the limit is 1%",
        ),
        (replace(GOOD, p95_ms=None), Verdict.NO_DATA, "Prometheus has no latency of this revision"),
        (replace(GOOD, p95_ms=math.nan), Verdict.NO_DATA, "Prometheus has no latency of this revision"),
        (replace(GOOD, p95_ms=math.inf), Verdict.NO_DATA, "Prometheus has no latency of this revision"),
        (replace(GOOD, requests=None), Verdict.NO_DATA, "Prometheus has no requests of this revision"),
        (replace(GOOD, requests=0), Verdict.NO_DATA, "Prometheus has no requests of this revision"),
        (replace(GOOD, requests=math.nan), Verdict.NO_DATA, "Prometheus has no requests of this revision"),
        (replace(GOOD, error="no answer within 5 s"), Verdict.ERROR, "no answer within 5 s"),
        (replace(GOOD, at=NOW - timedelta(seconds=46)), Verdict.NO_DATA, "the last sample is 46s old"),
        (replace(GOOD, revision="r0"), Verdict.NO_DATA, "no sample of this revision yet"),
        (None, Verdict.NO_DATA, "no sample of this revision yet"),
    ],
)
def test_every_sample_has_one_verdict(sample: HealthSample | None, verdict: Verdict, message: str) -> None:
    judged = judge(sample, "r1", LIMITS, NOW)
    assert (judged.verdict, judged.message) == (verdict, message)


_numbers = st.one_of(st.none(), st.floats(0, 1e6), st.just(math.nan), st.just(math.inf))


@given(_numbers, _numbers, _numbers, st.integers(0, 120), st.sampled_from(["", "refused"]))
def test_healthy_always_has_proof(
    requests: float | None, errors: float | None, p95: float | None, age: int, error: str
) -> None:
    sample = HealthSample("r1", NOW - timedelta(seconds=age), requests, errors, p95, error)
    judged = judge(sample, "r1", LIMITS, NOW)
    if judged.verdict is Verdict.HEALTHY:
        assert not error
        assert age <= 45
        assert requests is not None
        assert requests >= 688
        assert p95 is not None
        assert p95 <= 900
        assert (errors if errors is not None and math.isfinite(errors) else 0) <= 0.01 * requests
