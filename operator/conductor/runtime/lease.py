"""Leadership: a coordination.k8s.io Lease, judged on the local monotonic clock.

As in client-go, a lease is taken over only after it was *seen* unchanged for its whole duration;
the times written into it are for people. The number of transitions is the leader's epoch.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from conductor.adapters.kube import AlreadyExistsError, ApiError, ConflictError, Kube, Object

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LeaseTerms:
    """Seconds; `renew` several times within `duration`."""

    duration: float = 10.0
    renew: float = 2.0


class Leadership:
    """Acquires and renews until closed. `epoch` is 0 while somebody else leads."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], float],
        on_change: Callable[[int], None],
        terms: LeaseTerms = LeaseTerms(),
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._on_change = on_change
        self._terms = terms
        self._closing = threading.Event()
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._epoch = 0
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    @property
    def epoch(self) -> int:
        """Our epoch; 0 when we do not lead or could not renew in time."""
        if self._epoch and self._clock() - self._renewed_at >= self._terms.duration:
            return 0
        return self._epoch

    def start(self) -> None:
        """Begin to compete."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the lease back so that the next leader need not wait."""
        self._closing.set()
        self._thread.join(timeout=self._terms.renew + 12)
        if self.epoch:
            try:
                self._write(self._kube.get("Lease", self._namespace, self._name), holder="")
            except ApiError as error:
                _log.warning("lease not given back", error=str(error))

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._step()
            except ApiError as error:
                _log.warning("lease not renewed", error=str(error))
            if self._epoch and not self.epoch:
                self._lose()
            self._closing.wait(self._terms.renew)

    def _step(self) -> None:
        now = self._clock()
        found = self._kube.get("Lease", self._namespace, self._name)
        spec = (found or {}).get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime") or "")
        if record != self._seen:
            self._seen, self._seen_at = record, now
        expired = not holder or now - self._seen_at >= self._terms.duration
        if holder != self._identity and not expired:
            self._lose()
            return
        try:
            written = self._write(found, self._identity)
        except (ConflictError, AlreadyExistsError):
            self._lose()
            return
        self._renewed_at = now
        self._seen, self._seen_at = (self._identity, written["spec"]["renewTime"]), now
        epoch = int(written["spec"].get("leaseTransitions") or 0)
        if epoch != self._epoch:
            self._epoch = epoch
            _log.info("leading", epoch=epoch, identity=self._identity)
            self._on_change(epoch)

    def _write(self, found: Object | None, holder: str) -> Object:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        former = (found or {}).get("spec") or {}
        fresh = (former.get("holderIdentity") or "") != holder and holder != ""
        # A process that restarts under its old name is a new leader too: what it held in memory is gone.
        fresh = fresh or (holder == self._identity and self._epoch == 0)
        transitions = int(former.get("leaseTransitions") or 0) + (1 if fresh else 0)
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._terms.duration)),
            "renewTime": stamp,
            "acquireTime": stamp if fresh else former.get("acquireTime") or stamp,
            "leaseTransitions": transitions,
        }
        if found is None:
            manifest = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": spec,
            }
            return self._kube.create("Lease", self._namespace, manifest)
        return self._kube.replace("Lease", self._namespace, {**found, "spec": spec})

    def _lose(self) -> None:
        if self._epoch:
            _log.warning("no longer leading", epoch=self._epoch)
            self._epoch = 0
            self._on_change(0)
