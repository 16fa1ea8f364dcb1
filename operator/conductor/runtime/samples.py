"""Background samples: what each release wants measured is measured here, never inside a pass.

One pool asks Prometheus, a release at a time at most once, so that one which answers slowly holds up
nobody else's; another pool sends the verification requests. A pass only ever reads the newest sample,
so that neither can hold up a rollback.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from conductor.adapters.datapath import send
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.domain.sampling import Needs, ProbeOrder
from conductor.domain.snapshot import HealthSample, ProbeSample, SilenceSample
from conductor.observe.gather import Samples
from conductor.runtime.node_proof import NodeProof
from conductor.runtime.turns import Key

_log = structlog.get_logger(__name__)

_SAMPLE_EVERY_SECONDS = 2.0
_PROMETHEUS_THREADS = 8
_PROBE_THREADS = 16
#: Node proxies need a moment to know a new Service; until one answer came, failures this early are not the pods'.
_PATH_PATIENCE_SECONDS = 10.0
_PATH_RETRY_SECONDS = 0.2


@dataclass
class _Watch:
    needs: Needs
    health: HealthSample | None = None
    silence: SilenceSample | None = None


class _Probe:
    """Sends the requests of one order until it is called off."""

    def __init__(self, order: ProbeOrder, outbound: Outbound) -> None:
        self.order = order
        self._outbound = outbound
        self._lock = threading.Lock()
        self._off = threading.Event()
        self._given = 0
        self._begun = time.monotonic()
        now = datetime.now(UTC)
        self._sample = ProbeSample(order.target, now, order.since)

    @property
    def sample(self) -> ProbeSample:
        with self._lock:
            return self._sample

    def call_off(self) -> None:
        self._off.set()

    def run(self) -> None:
        """One lane of requests; several lanes share the budget and the rate."""
        pause = self.order.concurrency / max(self.order.rate, 0.1)
        while not self._off.is_set() and not self._path_is_up():
            self._off.wait(_PATH_RETRY_SECONDS)
        while not self._off.is_set():
            with self._lock:
                number = self._given
                self._given += 1
            request = self.order.requests[number % len(self.order.requests)]
            begun = time.monotonic()
            self._record(send(self._outbound, self.order.address, request))
            if number >= self.order.budget:
                # A slow answer counts towards the pause, or a slow version would never get enough requests.
                self._off.wait(max(0.0, begun + pause - time.monotonic()))

    def _path_is_up(self) -> bool:
        if self.sample.sent or time.monotonic() - self._begun >= _PATH_PATIENCE_SECONDS:
            return True
        if send(self._outbound, self.order.address, self.order.requests[0]) is not None:
            return False
        self._record(None)
        return True

    def _record(self, failure: str | None) -> None:
        with self._lock:
            before = self._sample
            self._sample = replace(
                before,
                at=datetime.now(UTC),
                sent=before.sent + 1,
                failed=before.failed + (failure is not None),
                matched_in_a_row=0 if failure else before.matched_in_a_row + 1,
                last_failure=failure or before.last_failure,
            )


class BackgroundSamples:
    """What is measured for whom. `wake` is called with the release whose sample is new."""

    def __init__(
        self,
        wake: Callable[[Key], None],
        prometheus: Prometheus,
        outbound: Outbound,
        nodes: NodeProof | None = None,
    ) -> None:
        self._wake = wake
        self._nodes = nodes
        self._prometheus = prometheus
        self._outbound = outbound
        self._lock = threading.Lock()
        self._watches: dict[Key, _Watch] = {}
        self._probes: dict[tuple[Key, str], _Probe] = {}
        self._closing = threading.Event()
        self._news = threading.Event()
        self._asking: set[Key] = set()
        self._askers = ThreadPoolExecutor(_PROMETHEUS_THREADS, thread_name_prefix="prometheus")
        self._lanes = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if self._nodes is not None:
            self._nodes.start()

    def close(self) -> None:
        self._closing.set()
        self._news.set()
        if self._nodes is not None:
            self._nodes.close()
        with self._lock:
            for probe in self._probes.values():
                probe.call_off()
        for pool in (self._askers, self._lanes):
            pool.shutdown(wait=False, cancel_futures=True)

    def newest(self, key: Key) -> Samples:
        """The newest samples of one release."""
        nodes = self._nodes.newest(key) if self._nodes is not None else None
        with self._lock:
            watch = self._watches.get(key)
            probes = {target: probe.sample for (owner, target), probe in self._probes.items() if owner == key}
            if watch is None:
                return Samples(nodes=nodes)
            return Samples(watch.health, watch.silence, probes, nodes)

    def want(self, key: Key, needs: Needs) -> None:
        """Measure this from now on; an empty `needs` stops all of it."""
        if self._nodes is not None:
            self._nodes.want(key, needs.nodes)
        with self._lock:
            former = self._watches.get(key)
            if replace(needs, nodes="") == Needs():
                self._watches.pop(key, None)
            elif former is None:
                self._watches[key] = _Watch(needs)
                self._news.set()
            else:
                former.needs = needs
            self._order(key, {order.target: order for order in needs.probes})

    def _order(self, key: Key, orders: dict[str, ProbeOrder]) -> None:
        for (owner, target), probe in list(self._probes.items()):
            if owner == key and probe.order != orders.get(target):
                probe.call_off()
                del self._probes[(owner, target)]
        for target, order in orders.items():
            if (key, target) not in self._probes:
                probe = _Probe(order, self._outbound)
                self._probes[(key, target)] = probe
                for _ in range(order.concurrency):
                    self._lanes.submit(probe.run)

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                wanted = [(key, watch.needs) for key, watch in self._watches.items()]
                due = [(key, needs) for key, needs in wanted if key not in self._asking]
                self._asking |= {key for key, _ in due}
            for key, needs in due:
                self._askers.submit(self._measure, key, needs)
            self._news.wait(_SAMPLE_EVERY_SECONDS if wanted else None)
            self._news.clear()

    def _measure(self, key: Key, needs: Needs) -> None:
        try:
            health = self._prometheus.ask_health(needs.health) if needs.health else None
            silence = self._prometheus.ask_silence(needs.silence) if needs.silence else None
        except Exception:  # noqa: BLE001
            # A defect met by one release's answers: its sample grows old, which is never health.
            _log.exception("sample not taken", namespace=key[0], release=key[1])
            return
        finally:
            with self._lock:
                self._asking.discard(key)
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                return
            watch.health, watch.silence = health or watch.health, silence or watch.silence
        self._wake(key)
