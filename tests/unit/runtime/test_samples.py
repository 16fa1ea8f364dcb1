"""Background samples: one release's Prometheus, however odd or slow, is no other release's trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.adapters.servers import ToThisMachine, says, server

from conductor.adapters.clock import wall_clock
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api.urls import DEFAULT_URLS
from conductor.domain.sampling import HealthQuestion, Needs, ProgressQuestion
from conductor.domain.snapshot import HealthSample
from conductor.runtime import metrics
from conductor.runtime.samples import BackgroundSamples, every_seconds
from conductor.runtime.turns import Key

SLOW, BROKEN, GOOD = ("a", "slow"), ("b", "broken"), ("c", "good")
SECONDS = 10.0


class ThreePrometheuses(Prometheus):
    """One that answers, one that does not, one whose answer nobody had thought of."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_URLS, Outbound(), wall_clock)
        self.let_go = threading.Event()

    def ask_health(self, question: HealthQuestion) -> HealthSample:
        if question.url == "slow":
            self.let_go.wait(SECONDS)
        if question.url == "broken":
            raise AttributeError(question.url)
        return HealthSample(question.revision, datetime.now(UTC), requests=1.0)


@pytest.fixture
def prometheus() -> Iterator[ThreePrometheuses]:
    asked = ThreePrometheuses()
    yield asked
    asked.let_go.set()


def question(url: str) -> Needs:
    return Needs(health=HealthQuestion(url, "r1", "", "", ""))


@pytest.mark.story
def test_the_others_get_their_samples(prometheus: ThreePrometheuses) -> None:
    told: list[Key] = []
    twice = threading.Event()

    def wake(key: Key) -> None:
        told.append(key)
        if told.count(GOOD) == 2:
            twice.set()

    samples = BackgroundSamples(wake, prometheus, Outbound(), wall_clock)
    for key in (SLOW, BROKEN, GOOD):
        samples.want(key, question(key[1]))
    samples.start()
    try:
        assert twice.wait(SECONDS), "the good one is sampled again and again"
        assert told == [GOOD, GOOD]
        assert samples.newest(GOOD).health is not None
        assert samples.newest(SLOW).health is None
        prometheus.let_go.set()
    finally:
        samples.close()


def test_progress_is_a_metric_for_as_long_as_its_job_runs(prometheus: ThreePrometheuses) -> None:
    told = threading.Event()
    body = '{"upgrade":"u1","attempt":1,"rowsDone":5,"rowsTotal":20}'
    with server(says(body)) as pod:
        asked = ProgressQuestion("mc-u1-migrate-1", "127.0.0.1", "u1", 1, pod.port)
        samples = BackgroundSamples(lambda _: told.set(), prometheus, ToThisMachine(), wall_clock)
        samples.want(GOOD, replace(question("good"), progress=asked))
        samples.start()
        try:
            assert told.wait(SECONDS)
            found = samples.newest(GOOD).progress
            assert found is not None
            assert (found.rows_done, found.rows_total) == (5, 20)
            labels = {"namespace": GOOD[0], "release": GOOD[1]}
            rows = [
                metrics.REGISTRY.get_sample_value(name, labels)
                for name in ("mc_migration_rows_done", "mc_migration_rows_estimated")
            ]
            assert rows == [5, 20]
            samples.want(GOOD, question("good"))
            assert samples.newest(GOOD).progress is None
            assert metrics.REGISTRY.get_sample_value("mc_migration_rows_done", labels) is None
        finally:
            samples.close()


@pytest.mark.parametrize(("releases", "seconds"), [(1, 2.0), (40, 2.0), (100, 5.0), (160, 8.0), (1000, 8.0)])
def test_many_releases_share_what_prometheus_is_asked_and_no_sample_grows_stale(
    releases: int, seconds: float
) -> None:
    assert every_seconds(releases) == seconds
