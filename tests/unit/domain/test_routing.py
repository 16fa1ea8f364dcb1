"""Where Services point, and when traffic is proven to go there."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import Story, checkpoint, installed

from conductor.api import names
from conductor.api.status import Phase
from conductor.domain.routing import (
    data_path_gap,
    endpoints_gap,
    is_wide,
    missing_services,
    pointing_at,
    switch_to,
    widen,
)
from conductor.domain.sampling import needs
from conductor.domain.snapshot import Endpoint, ProbeSample, Snapshot


def switching() -> Story:
    def tell() -> Story:
        story = installed(spec("1.0.0"))
        story.apply(spec("1.1.0"))
        return story.until(lambda: story.serving() == {"1.1.0"})

    return checkpoint("routing", tell)


def seen() -> Snapshot:
    story = switching()
    story.machinery.tick(story.now)
    return story.observe()


def test_a_switch_names_what_it_read_and_what_was_there_before() -> None:
    s = seen()
    assert s.status.upgrade is not None
    old, new = (s.revisions[s.status.upgrade.from_revision], s.revisions[s.status.upgrade.to_revision])
    [patch] = switch_to(s, old).patches

    assert patch.service == "mc-api"
    assert patch.resource_version == s.services["mc-api"].resource_version
    assert patch.former_selector[names.LABEL_REVISION] == new.hash
    assert patch.selector[names.LABEL_REVISION] == old.hash
    assert pointing_at(s, new)
    assert not pointing_at(s, old)
    assert not is_wide(s, old, new, ["mc-api"])
    assert missing_services(s, new) == []


def test_a_ramp_keeps_the_ports_and_selects_by_who_serves() -> None:
    s = seen()
    assert s.status.upgrade is not None
    [patch] = widen(s, s.revisions[s.status.upgrade.from_revision], s.revisions[s.digest], ["mc-api"]).patches

    assert patch.ports == ()
    assert patch.selector == {
        names.LABEL_RELEASE: "mc",
        names.LABEL_COMPONENT: "api",
        names.LABEL_SERVING: "true",
    }


def test_endpoints_prove_when_they_hold_just_the_ready_pods_of_the_revision() -> None:
    s = seen()
    new = s.revisions[s.digest]
    listed = s.endpoints["mc-api"]
    assert endpoints_gap(s, new) is None

    def with_endpoints(*endpoints: Endpoint) -> str | None:
        return endpoints_gap(replace(s, endpoints={"mc-api": endpoints}), new)

    assert with_endpoints() == "Service mc-api has no ready endpoint"
    assert (
        with_endpoints(*[replace(item, ready=False) for item in listed])
        == "Service mc-api has no ready endpoint"
    )
    stale = Endpoint("mc-api-blue-0000000000-x", True)
    assert with_endpoints(*listed, stale) == "Service mc-api still lists 1 pod(s) of another revision"
    assert with_endpoints(*listed, replace(stale, ready=False)) is None
    assert with_endpoints(*listed[1:]) == "Service mc-api does not list 1 ready pod(s) yet"


@pytest.mark.parametrize(
    ("late", "in_a_row", "gap"),
    [
        (0, 10, None),
        (0, 9, "9 of 10 answers in a row through Service mc-api"),
        (-1, 500, "no answer through Service mc-api since the switch"),
    ],
)
def test_the_data_path_proves_with_answers_since_the_switch(
    late: int, in_a_row: int, gap: str | None
) -> None:
    s = seen()
    assert s.status.upgrade is not None
    since = s.status.upgrade.switched_at
    assert since is not None
    begun = since + timedelta(seconds=late)
    probe = ProbeSample("mc-api", since + timedelta(seconds=3), begun, sent=600, matched_in_a_row=in_a_row)

    assert data_path_gap(replace(s, probes={"mc-api": probe}), s.revisions[s.digest], since) == gap


def test_the_questions_name_the_pods_of_one_revision_and_leave_out_our_own_traffic() -> None:
    s = seen()
    wanted = needs(s)
    assert wanted.health is not None
    selector = (
        f'{{namespace="prod",pod=~"mc-(api)-(blue|green)-{s.digest}-.+",'
        'path!~"/?(metrics|healthz|readyz|livez|-/.*)"}'
    )
    count = "http_request_duration_seconds_count"
    assert wanted.health.requests == (
        f"sum((clamp_min({count}{selector} - {count}{selector} offset 60s, 0) or {count}{selector}))"
    )
    assert 'status=~"5.."' in wanted.health.errors
    assert wanted.health.errors.endswith("or vector(0)")
    assert wanted.health.p95_ms.startswith("1000 * histogram_quantile(0.95, sum by (le)")
    assert wanted.health.url == "http://prometheus.monitoring.svc:9090"
    assert wanted.silence is None


def test_verification_load_is_made_to_reach_the_requests_that_a_verdict_needs() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.VERIFYING)
    [order] = needs(story.observe()).probes

    assert order.target == "mc-api-preview"
    assert order.budget >= 688
    assert order.rate * 60 >= 688
    assert [(request.port, request.path, request.version) for request in order.requests] == [
        (80, "/executions", "1.1.0")
    ]


def test_the_users_own_queries_are_filled_in() -> None:
    queries = {
        "requests": 'sum(hits{ns="{{ namespace }}",rev="{{revision}}"}[{{ window }}])',
        "errors": 'sum(bad{app="{{ release }}-{{ component }}"})',
        "p95LatencyMs": "slow",
    }
    metrics = {"prometheus": {"url": "http://prometheus.monitoring.svc:9090", "queries": queries}}
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", metrics=metrics))
    story.until(Phase.VERIFYING)
    s = story.observe()
    wanted = needs(s).health

    assert wanted is not None
    assert wanted.requests == f'sum(hits{{ns="prod",rev="{s.digest}"}}[60s])'
    assert wanted.errors == 'sum(bad{app="mc-api"})'


def test_nothing_is_measured_in_steady_state() -> None:
    story = installed(spec("1.0.0"))
    wanted = needs(story.observe())
    assert (wanted.health, wanted.silence, wanted.probes) == (None, None, ())


def test_silence_is_asked_about_the_losing_pods_while_closing() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.CLOSING)
    s = story.observe()
    wanted = needs(s).silence

    assert wanted is not None
    assert s.status.upgrade is not None
    assert wanted.revision == s.status.upgrade.from_revision
    assert wanted.present.startswith("count by (pod) (")
