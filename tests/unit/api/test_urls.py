"""Which URLs a release may name, and what is said about one that it may not."""

from __future__ import annotations

import pytest
from tests.unit.domain.plane import spec

from conductor.api.parse import parse_spec
from conductor.api.spec import ReleaseSpec
from conductor.api.urls import DEFAULT_URLS, UrlPatterns


@pytest.mark.parametrize(
    "url",
    [
        "http://prometheus.monitoring.svc:9090",
        "http://prometheus.monitoring.svc",
        "http://prometheus.monitoring.svc:9090/",
        "https://kps-kube-prometheus-stack-prometheus.monitoring.svc.cluster.local:9090",
    ],
)
def test_a_prometheus_in_the_cluster_is_allowed_as_it_comes(url: str) -> None:
    assert DEFAULT_URLS.refusal(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://billing.prod.svc",
        "http://prometheus.example.com",
        "http://prometheus.monitoring.svc:9090/other/path",
        "http://prometheus.monitoring.svc:9090?query=1",
        "http://prometheus.monitoring.svc:9090#x",
        "http://prometheus.monitoring.svc:9090\n",
        "http://prometheus.monitoring.svc@billing.prod.svc",
        "http://prometheus.a.b.svc",
        "http://prometheus.monitoring.svc.example.com",
        "ftp://prometheus.monitoring.svc",
    ],
)
def test_anything_else_is_not(url: str) -> None:
    refusal = DEFAULT_URLS.refusal(url)
    assert refusal is not None
    assert "prometheus.allowedUrls" in refusal


@pytest.mark.parametrize(
    "url",
    ["http://localhost:9090", "http://a.localhost", "http://127.0.0.1", "http://127.1", "http://0.0.0.0", "http://0",
     "http://0x7f000001", "http://2130706433:9090/", "http://169.254.169.254/latest", "http://kubernetes",
     "https://kubernetes.default.svc", "https://KUBERNETES.default.svc.cluster.local:443/api",
     "http://kubernetes.default.svc.", "http://metadata.google.internal/computeMetadata"],
)  # fmt: skip
def test_no_list_allows_this_machine_or_the_api_server(url: str) -> None:
    widest = UrlPatterns(
        ["http://*", "http://*:*", "http://*.*:*", "http://*.*.*:*", "https://*.*.*:*", "http://*.*.*.*"]
    )
    refusal = widest.refusal(url)
    assert refusal is not None
    assert "never asked" in refusal or "not on this operator's list" in refusal


def test_a_star_stays_within_its_part() -> None:
    patterns = UrlPatterns(["https://*.example.com:8443/tenants/*/prometheus"])
    assert patterns.refusal("https://metrics.example.com:8443/tenants/a-1/prometheus") is None
    for url in (
        "https://metrics.example.com:8443/tenants/a/b/prometheus",
        "https://metrics.example.com:8443/tenants/../prometheus",
        "https://a.b.example.com:8443/tenants/a/prometheus",
        "https://metrics.example.com/tenants/a/prometheus",
        "https://evil.com/x.example.com:8443/tenants/a/prometheus",
    ):
        assert patterns.refusal(url) is not None, url


@pytest.mark.parametrize(
    "pattern", ["prometheus:9090", "http://", "http://a b", "http://user@host", "http://a/?x"]
)
def test_a_pattern_that_is_none_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no pattern of a URL"):
        UrlPatterns([pattern])


def test_the_release_is_told_field_value_and_mend() -> None:
    raw = spec(metrics={"prometheus": {"url": "http://billing.prod.svc:8080"}})
    [finding] = parsed if not isinstance(parsed := parse_spec(raw, DEFAULT_URLS), ReleaseSpec) else ()
    assert str(finding).startswith(
        'spec.metrics.prometheus.url: "http://billing.prod.svc:8080" is not on this operator\'s list; use a URL like '
    )


def test_what_was_recorded_is_read_whatever_is_allowed_today() -> None:
    assert isinstance(
        parse_spec(spec(metrics={"prometheus": {"url": "http://billing.prod.svc"}})), ReleaseSpec
    )
