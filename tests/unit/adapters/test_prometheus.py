"""The operator's questions to a Prometheus that a user named: what leaves, where to, and what of the answer counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from tests.unit.adapters.servers import Asked, ToThisMachine, says, server

from conductor.adapters.clock import wall_clock
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api.urls import DEFAULT_URLS, UrlPatterns
from conductor.domain.sampling import HealthQuestion, SilenceQuestion
from conductor.domain.snapshot import HealthSample, SilenceSample

SECRET = "do-not-tell-this-on"  # pragma: allowlist secret


def anywhere(asked: Asked) -> UrlPatterns:
    """A list that names the test's server; loopback itself is never on any list."""

    class Listed(UrlPatterns):
        def refusal(self, url: str) -> str | None:
            return None if url.startswith(asked.url) else "is not listed"

    return Listed()


def health(asked: Asked) -> HealthSample:
    prometheus = Prometheus(anywhere(asked), ToThisMachine(), wall_clock)
    return prometheus.ask_health(HealthQuestion(asked.url, "r1", "requests", "errors", "p95"))


def silence(asked: Asked) -> SilenceSample:
    prometheus = Prometheus(anywhere(asked), ToThisMachine(), wall_clock)
    return prometheus.ask_silence(SilenceQuestion(asked.url, "r1", "present", "requests"))


def vector(*series: dict[str, Any]) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": list(series)}})


def value(number: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1_700_000_000, number]}


def test_a_number_is_a_number() -> None:
    with server(says(vector(value("42")))) as asked:
        assert health(asked).requests == 42.0
        assert asked.requests[0].startswith("GET /api/v1/query?query=requests HTTP/1.1\r\n")


def test_what_the_preset_asks_is_asked_at_once() -> None:
    """Three numbers of one moment, and a third of the work."""
    answer = vector(
        value("42", mc_part="requests"), value("2", mc_part="errors"), value("NaN", mc_part="p95_ms")
    )
    with server(says(answer)) as asked:
        sample = Prometheus(anywhere(asked), ToThisMachine(), wall_clock).ask_health(
            HealthQuestion(asked.url, "r1", "sum(a)", "sum(b) or vector(0)", "sum(c)", preset=True)
        )
        assert (sample.requests, sample.errors, sample.p95_ms, sample.error) == (42.0, 2.0, None, "")
        (request,) = asked.requests
    query = unquote_plus(request.split()[1])
    assert 'label_replace(sum(b) or vector(0), "mc_part", "errors", "", "") or ' in query


def test_pods_are_counted() -> None:
    present = [value("1", pod=pod, mc_part="present") for pod in "abc"]
    counted = [value("3", pod="a", mc_part="requests"), value("0", pod="b", mc_part="requests")]
    with server(says(vector(*present, *counted))) as asked:
        assert silence(asked).requests_by_pod == {"a": 3.0, "b": 0.0, "c": 0.0}


def test_a_series_that_was_not_asked_for_is_not_taken_for_silence() -> None:
    with server(says(vector(value("0", pod="a")))) as asked:
        assert "not asked for" in silence(asked).error


@pytest.mark.parametrize(
    "url", ["http://billing.prod.svc", "http://169.254.169.254/latest", "http://localhost:9090"]
)
def test_a_url_that_is_not_listed_is_not_asked_even_where_it_was_admitted(url: str) -> None:
    sample = Prometheus(DEFAULT_URLS, Outbound(), wall_clock).ask_health(
        HealthQuestion(url, "r1", "", "", "")
    )
    assert sample.error.startswith("spec.metrics.prometheus.url ")
    assert sample.requests is None


def test_a_listed_name_that_leads_to_this_machine_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    where = [(2, 1, 6, "", ("127.0.0.1", 9090))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: where)
    url = "http://prometheus.prod.svc:9090"
    sample = Prometheus(DEFAULT_URLS, Outbound(), wall_clock).ask_health(
        HealthQuestion(url, "r1", "", "", "")
    )
    assert "127.0.0.1 is a loopback" in sample.error


def test_nothing_of_the_operator_s_own_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login operator password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with server(says("{}")) as proxy, server(says(vector(value("1")))) as asked:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert health(asked).requests == 1.0
        assert proxy.requests == []
    names = {line.partition(":")[0].lower() for line in asked.requests[0].splitlines()[1:] if line}
    assert names == {"host", "accept-encoding", "connection", "user-agent", "accept"}


def test_a_redirect_is_not_followed() -> None:
    with (
        server(says(vector(value("1")))) as inside,
        server(says("", "302 Found", f"Location: {inside.url}/\r\n")) as asked,
    ):
        assert health(asked).error == "answered HTTP Status Code 302"
        assert inside.requests == []


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "500 Internal Server Error"])
def test_an_answer_is_never_repeated(status: str) -> None:
    with server(says(json.dumps({SECRET: SECRET}), status)) as asked:
        sample = health(asked)
    assert sample.error
    assert SECRET not in sample.error


@pytest.mark.parametrize(
    "body",
    ["", "no JSON", "[]", "7", '"text"', "null", '{"data": []}', '{"data": {"result": "text"}}',
     '{"data": {"result": 7}}', '{"data": {"result": [7]}}', "[" * 200_000, vector(value("no number", pod="a")),
     vector({"metric": {"pod": "a"}, "value": [1, {}]}), "x" * 1_100_000],
)  # fmt: skip
def test_what_is_no_answer_of_prometheus_is_an_error_and_no_defect(body: str) -> None:
    with server(says(body)) as asked:
        assert health(asked).error or health(asked).requests is None
        assert silence(asked).error


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf"])
def test_what_cannot_be_compared_is_neither_health_nor_silence(number: str) -> None:
    with server(says(vector(value(number, pod="a", mc_part="requests")))) as asked:
        assert health(asked).requests is None
        assert "no number" in silence(asked).error


def test_nobody_answers() -> None:
    with server(says("")) as asked:
        pass
    assert health(asked).error == "connection refused or host unknown"
