"""Our own requests through Services, for all releases that want some: a few threads, and turns that are fair.

Each order has several lanes, and each lane at most one request on its way. Lanes take turns, so that a hundred
upgrades at once all get their answers, and one that hangs holds up its own lanes only.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from conductor.adapters.datapath import send
from conductor.adapters.outbound import Outbound
from conductor.api.urls import Place
from conductor.domain.sampling import ProbeOrder
from conductor.domain.snapshot import ProbeSample
from conductor.runtime import metrics
from conductor.runtime.turns import Key, Turns

_log = structlog.get_logger(__name__)
_THREADS = 32
#: Node proxies need a moment to know a new Service; until one answer came, failures this early are not the pods'.
_PATH_PATIENCE_SECONDS = 10.0
_PATH_RETRY_SECONDS = 0.2
_LATER_SECONDS = 1.0
#: Release, target, number of the lane.
Lane = tuple[Key, str, int]


class Probe:
    """The requests of one order, one after the other in each lane; lanes share its budget and its rate."""

    def __init__(self, order: ProbeOrder, outbound: Outbound, now: Callable[[], datetime]) -> None:
        self.order = order
        self._now = now
        self._outbound = outbound
        self._lock = threading.Lock()
        self._given = 0
        self._begun = time.monotonic()
        self._sample = ProbeSample(order.target, now(), order.since)

    @property
    def sample(self) -> ProbeSample:
        with self._lock:
            return self._sample

    def step(self) -> float:
        """Send a lane's next request; seconds until the one after."""
        if not self._path_is_up():
            return _PATH_RETRY_SECONDS
        with self._lock:
            number = self._given
            self._given += 1
        request = self.order.requests[number % len(self.order.requests)]
        begun = time.monotonic()
        self._record(send(self._outbound, self.order.address, request))
        if number < self.order.budget:
            return 0.0
        # A slow answer counts towards the pause, or a slow version would never get enough requests.
        pause = self.order.concurrency / max(self.order.rate, 0.1)
        return max(0.0, begun + pause - time.monotonic())

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
                at=self._now(),
                sent=before.sent + 1,
                failed=before.failed + (failure is not None),
                matched_in_a_row=0 if failure else before.matched_in_a_row + 1,
                last_failure=failure or before.last_failure,
            )


class Probes:
    """Thread-safe: what is ordered for whom, and what came of it so far."""

    def __init__(
        self, outbound: Outbound, now: Callable[[], datetime], gateways: Mapping[str, Place] | None = None
    ) -> None:
        """`gateways`: where each is reached that may be asked, by `namespace/name`."""
        self._outbound = outbound
        self._now = now
        self._gateways = gateways or {}
        self._lock = threading.Lock()
        self._probes: dict[Key, dict[str, Probe]] = {}
        self._turns: Turns[Lane] = Turns(time.monotonic)
        self._threads = [
            threading.Thread(target=self._work, name=f"probe-{number}", daemon=True)
            for number in range(_THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._turns.close()

    def newest(self, key: Key) -> dict[str, ProbeSample]:
        """What came of a release's orders so far, by target."""
        with self._lock:
            return {target: probe.sample for target, probe in self._probes.get(key, {}).items()}

    def order(self, key: Key, orders: tuple[ProbeOrder, ...]) -> None:
        """These orders and no others from now on; one that is the same goes on.

        A Gateway of which nobody said how it is reached is not asked.
        """
        orders = tuple(placed for order in orders if (placed := self._placed(order)) is not None)
        wanted = {order.target: order for order in orders}
        with self._lock:
            probes = self._probes.get(key, {})
            kept = {target: probe for target, probe in probes.items() if wanted.get(target) == probe.order}
            fresh = [Probe(order, self._outbound, self._now) for order in orders if order.target not in kept]
            kept |= {probe.order.target: probe for probe in fresh}
            if kept:
                self._probes[key] = kept
            else:
                self._probes.pop(key, None)
        for probe in fresh:
            for lane in range(probe.order.concurrency):
                self._turns.ask((key, probe.order.target, lane))

    def _placed(self, order: ProbeOrder) -> ProbeOrder | None:
        if not order.gateway:
            return order
        place = self._gateways.get(order.gateway)
        if place is None:
            return None
        requests = tuple(replace(request, port=place.port) for request in order.requests)
        return replace(order, address=place.host, requests=requests)

    def _work(self) -> None:
        while (turn := self._turns.take()) is not None:
            lane, late = turn
            metrics.PROBE_LATE_SECONDS.observe(late)
            after: float | None = None
            try:
                after = self._step(lane)
            except Exception:  # noqa: BLE001
                # A defect met by one answer must not end the thread that serves all releases.
                _log.exception("request not sent", namespace=lane[0][0], release=lane[0][1], target=lane[1])
                after = _LATER_SECONDS
            finally:
                self._turns.done(lane)
            if after is not None:
                self._turns.ask(lane, after)

    def _step(self, lane: Lane) -> float | None:
        key, target, number = lane
        with self._lock:
            probe = self._probes.get(key, {}).get(target)
        if probe is None or number >= probe.order.concurrency:
            return None
        return probe.step()
