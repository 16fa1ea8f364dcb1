"""Health: from a sample and the limits to one of four verdicts. Only `Healthy` moves traffic forward."""

import math
from datetime import datetime, timedelta

from conductor.api.spec import SwitchHealth
from conductor.api.status import Verdict, VerdictStatus
from conductor.domain.snapshot import HealthSample

#: A sample older than this says nothing about now: three scrapes at a common 15 s interval would fit in it.
STALE_AFTER = timedelta(seconds=45)


def required_requests(limits: SwitchHealth) -> int:
    """Fewest requests that a verdict needs.

    The smallest n with (1 - errorRate)^n <= missRate: a version that fails at the limit shows at
    least one error but for missRate of the cases. With 0.01 and 0.001 that is 688; a version that
    fails five times as often then exceeds the limit but for fewer than two in a billion
    (binomial, n=688, p=0.05, at most 6 errors).
    """
    return math.ceil(math.log(limits.miss_rate) / math.log(1 - limits.error_rate))


def judge(sample: HealthSample | None, revision: str, limits: SwitchHealth, now: datetime) -> VerdictStatus:
    """The verdict on `revision` now. No data, an error, a stale sample and too few requests are never Healthy."""
    if sample is None or sample.revision != revision:
        return VerdictStatus(verdict=Verdict.NO_DATA, at=now, message="no sample of this revision yet")
    if sample.error:
        return VerdictStatus(verdict=Verdict.ERROR, at=sample.at, message=sample.error)
    if now - sample.at > STALE_AFTER:
        age = int((now - sample.at).total_seconds())
        return VerdictStatus(verdict=Verdict.NO_DATA, at=sample.at, message=f"the last sample is {age}s old")
    needed = required_requests(limits)
    requests = _number(sample.requests)
    errors = _number(sample.errors)
    p95 = _number(sample.p95_ms)
    if requests is None or requests <= 0:
        return VerdictStatus(
            verdict=Verdict.NO_DATA,
            requests=0,
            at=sample.at,
            message="Prometheus has no requests of this revision",
        )
    counted_errors = errors or 0.0

    def verdict(answer: Verdict, message: str) -> VerdictStatus:
        return VerdictStatus(
            verdict=answer,
            requests=round(requests),
            errors=round(counted_errors),
            p95_ms=p95,
            at=sample.at,
            message=message,
        )

    # Enough errors are enough: that many break the limit even if all requests still missing were good.
    if counted_errors > limits.error_rate * max(requests, needed):
        rate = 100 * counted_errors / requests
        return verdict(
            Verdict.UNHEALTHY,
            f"{rate:.2f}% of {round(requests)} requests failed, the limit is {100 * limits.error_rate:g}%",
        )
    if requests < needed:
        return verdict(Verdict.NO_DATA, f"{round(requests)} of the {needed} requests that a verdict needs")
    if p95 is None:
        return verdict(Verdict.NO_DATA, "Prometheus has no latency of this revision")
    if p95 > limits.p95_latency_ms:
        return verdict(Verdict.UNHEALTHY, f"p95 is {p95:.0f} ms, the limit is {limits.p95_latency_ms:g} ms")
    return verdict(
        Verdict.HEALTHY, f"{round(counted_errors)} of {round(requests)} requests failed, p95 {p95:.0f} ms"
    )


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
