"""Background samples: what each release wants measured is measured here, never inside a pass.

A few threads ask Prometheus for all releases in turn, a release at a time at most once, so that one which
answers slowly holds up nobody else's; others send the verification requests (`runtime.probes`). A pass only
ever reads the newest sample, so that neither can hold up a rollback.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from conductor.adapters.migration_progress import ask_progress
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api.urls import Place
from conductor.domain.sampling import Needs
from conductor.domain.snapshot import HealthSample, ProgressSample, SilenceSample
from conductor.observe.gather import Samples
from conductor.runtime import metrics
from conductor.runtime.node_proof import NodeProof
from conductor.runtime.probes import Probes
from conductor.runtime.turns import Key, Turns

_log = structlog.get_logger(__name__)

_SAMPLE_EVERY_SECONDS = 2.0
#: All releases together are asked for at most so often: each asking takes processor time from decisions, and with many
#: upgrades at once these would wait for it. Prometheus itself scrapes more rarely than that.
_SAMPLES_A_SECOND = 20.0
#: A sample of 15 s is too old to be decided upon.
_LONGEST_SAMPLE_EVERY_SECONDS = 8.0
_PROMETHEUS_THREADS = 8


def every_seconds(releases: int) -> float:
    """How long after a sample of a release the next one is due, where so many are measured."""
    shared = releases / _SAMPLES_A_SECOND
    return min(_LONGEST_SAMPLE_EVERY_SECONDS, max(_SAMPLE_EVERY_SECONDS, shared))


@dataclass
class _Watch:
    needs: Needs
    health: HealthSample | None = None
    silence: SilenceSample | None = None
    progress: ProgressSample | None = None


class BackgroundSamples:
    """What is measured for whom. `wake` is called with the release whose sample is new."""

    def __init__(
        self,
        wake: Callable[[Key], None],
        prometheus: Prometheus,
        outbound: Outbound,
        now: Callable[[], datetime],
        nodes: NodeProof | None = None,
        *,
        gateways: Mapping[str, Place] | None = None,
    ) -> None:
        self._wake = wake
        self._nodes = nodes
        self._prometheus = prometheus
        self._probes = Probes(outbound, now, gateways)
        self._ask_progress = partial(ask_progress, outbound, now=now)
        self._lock = threading.Lock()
        self._watches: dict[Key, _Watch] = {}
        self._turns: Turns[Key] = Turns(time.monotonic)
        self._threads = [
            threading.Thread(target=self._work, name=f"prometheus-{number}", daemon=True)
            for number in range(_PROMETHEUS_THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._probes.start()
        if self._nodes is not None:
            self._nodes.start()

    def close(self) -> None:
        self._turns.close()
        self._probes.close()
        if self._nodes is not None:
            self._nodes.close()

    def newest(self, key: Key) -> Samples:
        """The newest samples of one release."""
        nodes = self._nodes.newest(key) if self._nodes is not None else None
        probes = self._probes.newest(key)
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                return Samples(nodes=nodes)
            return Samples(watch.health, watch.silence, probes, nodes, watch.progress)

    def want(self, key: Key, needs: Needs) -> None:
        """Measure this from now on; an empty `needs` stops all of it."""
        if self._nodes is not None:
            self._nodes.want(key, needs.nodes)
        with self._lock:
            former = self._watches.get(key)
            if former is not None and former.progress is not None and not _is_about(former.progress, needs):
                former.progress = None
                _forget_progress(key)
            if replace(needs, nodes="") == Needs():
                self._watches.pop(key, None)
                self._turns.forget(key)
            elif former is None:
                self._watches[key] = _Watch(needs)
                self._turns.ask(key)
            else:
                former.needs = needs
        self._probes.order(key, needs.probes)

    def _work(self) -> None:
        while (turn := self._turns.take()) is not None:
            key, late = turn
            metrics.SAMPLE_LATE_SECONDS.observe(late)
            begun = time.monotonic()
            try:
                wanted = self._measure(key)
            except Exception:  # noqa: BLE001
                # A defect met by one release's answers: its sample grows old, which is never health.
                _log.exception("sample not taken", namespace=key[0], release=key[1])
                wanted = True
            finally:
                self._turns.done(key)
            if wanted:
                self._turns.ask(key, begun + self._every_seconds() - time.monotonic())

    def _every_seconds(self) -> float:
        with self._lock:
            return every_seconds(len(self._watches))

    def _measure(self, key: Key) -> bool:
        """Ask for one release; False where nobody wants to know any more."""
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                return False
            needs = watch.needs
        progress = self._ask_progress(needs.progress) if needs.progress else None
        health = self._prometheus.ask_health(needs.health) if needs.health else None
        silence = self._prometheus.ask_silence(needs.silence) if needs.silence else None
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                return False
            if progress is not None and _is_about(progress, watch.needs):
                watch.progress = progress
                _tell_progress(key, progress)
            watch.health, watch.silence = health or watch.health, silence or watch.silence
        self._wake(key)
        return True


def _is_about(progress: ProgressSample, needs: Needs) -> bool:
    return needs.progress is not None and needs.progress.job == progress.job


def _tell_progress(key: Key, progress: ProgressSample) -> None:
    metrics.MIGRATION_ROWS_DONE.labels(*key).set(progress.rows_done)
    metrics.MIGRATION_ROWS_ESTIMATED.labels(*key).set(progress.rows_total)


def _forget_progress(key: Key) -> None:
    """A number that nothing brings up to date any more would be taken for one that stands still."""
    for gauge in (metrics.MIGRATION_ROWS_DONE, metrics.MIGRATION_ROWS_ESTIMATED):
        gauge.remove(*key)
