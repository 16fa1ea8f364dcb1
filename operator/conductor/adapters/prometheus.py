"""Questions to Prometheus, through prometheus-api-client; answers are numbers or an error in words."""

import functools
import math
from datetime import UTC, datetime

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from conductor.domain.sampling import HealthQuestion, SilenceQuestion
from conductor.domain.snapshot import HealthSample, SilenceSample

_TIMEOUT_SECONDS = 5


class PrometheusError(Exception):
    """No usable answer; the text never repeats a response body."""


@functools.lru_cache(maxsize=64)
def _connect(url: str) -> PrometheusConnect:
    return PrometheusConnect(url=url.rstrip("/"), retry=Retry(total=0), timeout=_TIMEOUT_SECONDS)


def ask_health(question: HealthQuestion) -> HealthSample:
    """One sample of a revision's health."""
    at = datetime.now(UTC)
    try:
        return HealthSample(
            revision=question.revision,
            at=at,
            requests=_scalar(question.url, question.requests),
            errors=_scalar(question.url, question.errors),
            p95_ms=_scalar(question.url, question.p95_ms),
        )
    except PrometheusError as error:
        return HealthSample(revision=question.revision, at=at, error=str(error))


def ask_silence(question: SilenceQuestion) -> SilenceSample:
    """Requests per losing pod; a pod that has series but no request of a user counts as 0."""
    at = datetime.now(UTC)
    try:
        present = _by_pod(question.url, question.present)
        counted = _by_pod(question.url, question.requests)
    except PrometheusError as error:
        return SilenceSample(revision=question.revision, at=at, error=str(error))
    return SilenceSample(
        revision=question.revision, at=at, requests_by_pod={pod: counted.get(pod, 0.0) for pod in present}
    )


def _query(url: str, query: str) -> list[dict[str, object]]:
    try:
        answer: list[dict[str, object]] = _connect(url).custom_query(query)
    except requests.exceptions.Timeout as error:
        raise PrometheusError(f"no answer within {_TIMEOUT_SECONDS} s") from error
    except requests.exceptions.ConnectionError as error:
        raise PrometheusError("connection refused or host unknown") from error
    except PrometheusApiClientException as error:
        status = str(error).split("(", maxsplit=1)[0].strip()
        raise PrometheusError(f"answered {status}") from error
    except (requests.exceptions.RequestException, ValueError, KeyError) as error:
        raise PrometheusError(
            f"answered something that is not Prometheus' API ({type(error).__name__})"
        ) from error
    return answer


def _scalar(url: str, query: str) -> float | None:
    found = _query(url, query)
    if not found:
        return None
    if len(found) > 1:
        raise PrometheusError(f"{len(found)} series where one was expected; sum them in the query")
    value = found[0].get("value")
    number = float(value[1]) if isinstance(value, list) and len(value) == 2 else math.nan
    return number if math.isfinite(number) else None


def _by_pod(url: str, query: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for series in _query(url, query):
        metric, value = series.get("metric"), series.get("value")
        if isinstance(metric, dict) and isinstance(value, list) and "pod" in metric:
            counts[str(metric["pod"])] = float(value[1])
    return counts
