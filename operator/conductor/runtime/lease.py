"""One coordination.k8s.io Lease as a candidate sees it, judged on the local monotonic clock.

As in client-go, a lease is taken over only after it was *seen* unchanged for its whole duration;
the times written into it are for people.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from conductor.adapters.kube import AlreadyExistsError, ConflictError, Kube, NotFoundError, Object


@dataclass(frozen=True)
class LeaseTerms:
    """Seconds; `renew` several times within `duration`."""

    duration: float = 10.0
    renew: float = 2.0


class Seat:
    """A lease that can be taken, renewed and given back. `epoch` is that of our holding it, 0 while we do not.

    Whoever takes it says under which epoch. Not thread-safe: one thread steps all seats of a process.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], float],
        terms: LeaseTerms = LeaseTerms(),
    ) -> None:
        self.name = name
        self.epoch = 0
        #: When the newest renewal that succeeded was begun.
        self.renewed_at = 0.0
        #: Whether it is about to be given back: nothing new is begun under it.
        self.leaving = False
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._terms = terms
        self._found: Object | None = None
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        self._highest = 0

    @property
    def held(self) -> bool:
        """Whether we hold it and renewed it in time."""
        return bool(self.epoch) and self._clock() - self.renewed_at < self._terms.duration

    @property
    def holder(self) -> str:
        """Who held it when it was last read or written."""
        return self._spec.get("holderIdentity") or ""

    @property
    def transitions(self) -> int:
        """The highest number that it was seen with: somebody may have deleted it meanwhile."""
        return max(self._highest, int(self._spec.get("leaseTransitions") or 0))

    @property
    def known(self) -> bool:
        """Whether it is there, or was seen before somebody deleted it."""
        return self._found is not None or self._highest > 0

    @property
    def annotations(self) -> Mapping[str, str]:
        """As they were last seen."""
        return ((self._found or {}).get("metadata") or {}).get("annotations") or {}

    @property
    def _spec(self) -> Mapping[str, Any]:
        return (self._found or {}).get("spec") or {}

    def read(self) -> None:
        """Look at it; what we did not renew in time is lost. Raises ApiError."""
        now = self._clock()
        if not self.held:
            self.epoch = 0
        self._found = self._kube.get("Lease", self._namespace, self.name)
        self._notice(now)
        if self.epoch and self.holder != self._identity:
            self.epoch = 0

    def free(self) -> bool:
        """Whether nobody holds it, or its holder was seen silent for its whole time; ours is free to us."""
        return self.holder in ("", self._identity) or self.silent_for() >= self._terms.duration

    def silent_for(self) -> float:
        """Seconds since it was first seen as it is."""
        return self._clock() - self._seen_at

    def take(self, epoch: int, annotations: Mapping[str, str | None] | None = None) -> bool:
        """Hold it under this epoch, as of what was last read; False where somebody was faster."""
        now = self._clock()
        if not self._write(self._identity, epoch, annotations, fresh=True):
            return False
        self.epoch, self.renewed_at, self.leaving = epoch, now, False
        return True

    def renew(
        self, transitions: int | None = None, annotations: Mapping[str, str | None] | None = None
    ) -> bool:
        """Hold it for longer; False where it was written since we last saw it, so that it has to be read."""
        now = self._clock()
        if not self._write(
            self._identity, self.transitions if transitions is None else transitions, annotations
        ):
            return False
        self.renewed_at = now
        return True

    def count(self, transitions: int) -> bool:
        """Write the number of transitions, whoever holds it; False where somebody was faster."""
        return self._found is not None and self._write(self.holder, transitions, None, renewed=False)

    def give_back(self) -> bool:
        """Leave it to whoever comes first; False where it was written since we last saw it."""
        self.epoch, self.leaving = 0, False
        return self._write("", self.transitions, None)

    def _notice(self, now: float) -> None:
        self._highest = self.transitions
        record = (self.holder, self._spec.get("renewTime") or "")
        if record != self._seen:
            self._seen, self._seen_at = record, now

    def _write(
        self,
        holder: str,
        transitions: int,
        annotations: Mapping[str, str | None] | None,
        *,
        fresh: bool = False,
        renewed: bool = True,
    ) -> bool:
        now = self._clock()
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._terms.duration)),
            "renewTime": stamp if renewed else self._spec.get("renewTime") or stamp,
            "acquireTime": stamp if fresh else self._spec.get("acquireTime") or stamp,
            "leaseTransitions": transitions,
        }
        merged = {**self.annotations, **(annotations or {})}
        metadata: Object = {"name": self.name, "namespace": self._namespace}
        metadata |= (self._found or {}).get("metadata") or {}
        metadata["annotations"] = {key: value for key, value in merged.items() if value is not None}
        manifest: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        try:
            if self._found is None:
                self._found = self._kube.create("Lease", self._namespace, manifest)
            else:
                self._found = self._kube.replace("Lease", self._namespace, manifest)
        except (ConflictError, AlreadyExistsError, NotFoundError):
            return False
        self._notice(now)
        return True
