"""Questions to Prometheus, through prometheus-api-client; answers are numbers or an error in words.

The URL is a user's: it is held against the operator's list again here, whatever was admitted before,
and its answers are taken for numbers or for nothing.
"""

import functools
import io
import math
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from conductor.adapters.outbound import Bounds, ForbiddenAddressError, Outbound, TooLargeError
from conductor.api.urls import UrlPatterns
from conductor.domain.sampling import PART, HealthQuestion, SilenceQuestion, in_one
from conductor.domain.snapshot import HealthSample, SilenceSample

_BOUNDS = Bounds(seconds=5.0, body_bytes=1_048_576)
_PORTS = {"http": 80, "https": 443}
#: Of a request's headers only these leave: no cookie, no credentials that a library may have found.
_HEADERS_SENT = ("User-Agent", "Accept")


class PrometheusError(Exception):
    """No usable answer; the text never repeats a response body."""


class Prometheus:
    """Asks whichever Prometheus a question names, within what the operator allows."""

    def __init__(self, urls: UrlPatterns, outbound: Outbound, now: Callable[[], datetime]) -> None:
        self._urls = urls
        self._now = now
        self._connect = functools.lru_cache(maxsize=64)(functools.partial(_connect, outbound))

    def ask_health(self, question: HealthQuestion) -> HealthSample:
        """One sample of a revision's health."""
        at = self._now()
        texts = {"requests": question.requests, "errors": question.errors, "p95_ms": question.p95_ms}
        try:
            if question.preset:
                # Asking is what costs, here and there: a hundred upgrades ask twenty times a second.
                parts = _parts(self._query(question.url, in_one(texts)), texts)
                found = {name: _scalar(series) for name, series in parts.items()}
            else:
                found = {name: _scalar(self._query(question.url, text)) for name, text in texts.items()}
            return HealthSample(
                revision=question.revision,
                at=at,
                requests=found["requests"],
                errors=found["errors"],
                p95_ms=found["p95_ms"],
            )
        except PrometheusError as error:
            return HealthSample(revision=question.revision, at=at, error=str(error))

    def ask_silence(self, question: SilenceQuestion) -> SilenceSample:
        """Requests per losing pod; a pod that has series but no request of a user counts as 0."""
        at = self._now()
        try:
            texts = {"present": question.present, "requests": question.requests}
            parts = _parts(self._query(question.url, in_one(texts)), texts)
            present, counted = _by_pod(parts["present"]), _by_pod(parts["requests"])
        except PrometheusError as error:
            return SilenceSample(revision=question.revision, at=at, error=str(error))
        return SilenceSample(
            revision=question.revision, at=at, requests_by_pod={pod: counted.get(pod, 0.0) for pod in present}
        )

    def _query(self, url: str, query: str) -> list[dict[str, Any]]:
        if (refusal := self._urls.refusal(url)) is not None:
            raise PrometheusError(f"spec.metrics.prometheus.url {refusal}")
        try:
            answer = self._connect(url).custom_query(query)
        except ForbiddenAddressError as error:
            raise PrometheusError(f"spec.metrics.prometheus.url: {error}") from error
        except TimeoutError as error:
            raise PrometheusError(f"no answer within {_BOUNDS.seconds:g} s") from error
        except TooLargeError as error:
            raise PrometheusError(f"{error}; sum it up in the query") from error
        except PrometheusApiClientException as error:
            status = str(error).split("(", maxsplit=1)[0].strip()
            raise PrometheusError(f"answered {status}") from error
        except (
            requests.exceptions.RequestException,
            HTTPException,
            ValueError,
            LookupError,
            TypeError,
        ) as error:
            raise _not_prometheus(type(error).__name__) from error
        except RecursionError as error:
            raise _not_prometheus("nested too deeply") from error
        except ssl.SSLError as error:
            raise PrometheusError(f"no TLS connection ({type(error).__name__})") from error
        except OSError as error:
            raise PrometheusError("connection refused or host unknown") from error
        if not isinstance(answer, list) or not all(isinstance(series, dict) for series in answer):
            raise _not_prometheus("no list of series")
        return answer


def _parts(series: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Mapping[str, Any]]]:
    """The answers to each part of a question that was asked as one."""
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}
    for item in series:
        metric = item.get("metric")
        part = metric.get(PART) if isinstance(metric, dict) else None
        if part not in found:
            raise _not_prometheus("a series that was not asked for")
        found[part].append(item)
    return found


def _scalar(found: Sequence[Mapping[str, Any]]) -> float | None:
    if not found:
        return None
    if len(found) > 1:
        raise PrometheusError(f"{len(found)} series where one was expected; sum them in the query")
    number = _number(found[0])
    return number if math.isfinite(number) else None


def _by_pod(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    counts: dict[str, float] = {}
    for series in found:
        metric = series.get("metric")
        if isinstance(metric, dict) and "pod" in metric:
            number = _number(series)
            if not math.isfinite(number):
                # Compared with anything it would look like silence.
                raise _not_prometheus("a count that is no number")
            counts[str(metric["pod"])] = number
    return counts


def _number(series: Mapping[str, Any]) -> float:
    """The value of an instant vector's element: [time, "number"]."""
    value = series.get("value")
    try:
        return float(value[1]) if isinstance(value, list) and len(value) == 2 else math.nan
    except (TypeError, ValueError) as error:
        raise _not_prometheus("a value that is no number") from error


def _not_prometheus(why: str) -> PrometheusError:
    return PrometheusError(f"answered something that is not Prometheus' API ({why})")


def _connect(outbound: Outbound, url: str) -> PrometheusConnect:
    session = _Session(_Transport(outbound))
    return PrometheusConnect(url=url.rstrip("/"), session=session, retry=Retry(total=0))


class _Session(requests.Session):
    """Nothing of the environment: no proxy, no .netrc, no cookie; and no redirect."""

    def __init__(self, transport: "_Transport") -> None:
        super().__init__()
        self.trust_env = False
        self._transport = transport

    def get_adapter(self, url: str | bytes) -> "_Transport":  # noqa: ARG002 - the name is the interface's
        # The client mounts an adapter of its own over whatever was mounted before.
        return self._transport

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a 302 is an answer like any other that is not 200."""


class _Transport(requests.adapters.BaseAdapter):
    """Carries the client's requests over connections that are bounded in reach, time and size."""

    def __init__(self, outbound: Outbound) -> None:
        super().__init__()
        self._outbound = outbound

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when it is needed: most servers are asked without TLS, and to read all authorities takes a while."""
        return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        where = urlsplit(request.url or "")
        answer = self._outbound.exchange(
            request.method or "GET",
            f"{where.path}?{where.query}",
            host=where.hostname or "",
            port=where.port or _PORTS[where.scheme],
            bounds=_BOUNDS,
            tls=self._tls if where.scheme == "https" else None,
            headers={name: str(request.headers[name]) for name in _HEADERS_SENT if name in request.headers},
        )
        response = requests.Response()
        response.status_code = answer.status
        response.url = request.url or ""
        response.request = request
        response.raw = io.BytesIO(answer.body)
        return response

    def close(self) -> None:
        """Nothing is kept open."""
