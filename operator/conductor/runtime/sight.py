"""What a pass decides on: a glance at what the watches showed where that is enough, else a fresh read.

A release at rest is read again now and then all the same: what no watch shows (a user's ConfigMap) may have
changed, and a watch may have missed something. These reads are spread so that they cost the same however many
releases there are.
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from conductor.adapters.clock import ServerClock
from conductor.adapters.kube import Kube, Object
from conductor.api import names
from conductor.domain.snapshot import Snapshot
from conductor.observe.cache import Cache, Key, TrafficNote
from conductor.observe.gather import Samples, gather, glance, list_objects, note_of, read_traffic_config_map
from conductor.observe.parsed import Parsed
from conductor.observe.room import RoomReader

_D = TypeVar("_D")
#: A release at rest is read at the latest after so long, or after so long for each release there is.
_REST_SECONDS = 300.0
_REST_SECONDS_EACH = 4.0
#: One that moves is read at the latest after so long, whatever the watches show of it.
_MOVING_SECONDS = 30.0


@dataclass(frozen=True)
class Seen(Generic[_D]):
    """A release, what was seen of it, and what was decided on that."""

    release: Object
    snapshot: Snapshot
    decision: _D
    #: `watches` or `read`: what the snapshot was made of.
    basis: str


class Sight:
    """Thread-safe; remembers of each release only until when a glance will do."""

    def __init__(
        self, kube: Kube, readers: Executor, cache: Cache, parsed: Parsed, clock: Callable[[], float]
    ) -> None:
        self._kube = kube
        self._readers = readers
        self._cache = cache
        self._parsed = parsed
        self._clock = clock
        self._rooms = RoomReader(kube, clock)
        self._lock = threading.Lock()
        self._read_by: dict[Key, float] = {}

    def look(
        self,
        key: Key,
        decide: Callable[[Snapshot], _D],
        may_stand: Callable[[Snapshot, _D], bool],
        **settings: Any,
    ) -> Seen[_D] | None:
        """Look at a release and decide; None where it is gone. Raises ApiError.

        `settings` are the snapshot's: samples, epoch, now, server_now, new_upgrades.
        """
        if self._cache.complete and not self._due(key):
            glanced = self._glance(key, settings)
            if glanced is not None:
                release, snapshot = glanced
                decision = decide(snapshot)
                if may_stand(snapshot, decision):
                    return Seen(release, snapshot, decision, "watches")
        return self._read(key, decide, settings)

    def uid(self, key: Key) -> str | None:
        """The release's UID; None where it is gone. Raises ApiError."""
        known = self._cache.uid(key)
        if known is not None:
            return known
        release = self._kube.get(names.KIND, *key)
        if release is None:
            self._forget(key)
            return None
        self._cache.put_release(release, ours=True)
        return str(release["metadata"]["uid"])

    def doubt(self, key: Key) -> None:
        """Something was done, failed, or turned out to be otherwise: only a fresh read will do."""
        with self._lock:
            self._read_by[key] = self._clock()

    def wrote(self, release: Object) -> None:
        """A release as the API server answered our own write."""
        self._cache.put_release(release, ours=True)

    def left(self, key: Key) -> float:
        """Seconds until the release has to be read again."""
        with self._lock:
            return max(0.0, self._read_by.get(key, 0.0) - self._clock())

    def looked_at(self) -> int:
        """How many of the releases that there are were looked at since the process began."""
        with self._lock:
            return len(self._read_by)

    def _due(self, key: Key) -> bool:
        with self._lock:
            if key in self._read_by:
                return self._clock() >= self._read_by[key]
            # Seen for the first time, and listed a moment ago: its turn to be read comes with all others'.
            self._read_by[key] = self._clock() + self._rest() * random.uniform(0.1, 1.0)  # noqa: S311 - spreads load
            return False

    def _rest(self) -> float:
        return max(_REST_SECONDS, _REST_SECONDS_EACH * self._cache.count())

    def _glance(self, key: Key, settings: dict[str, Any]) -> tuple[Object, Snapshot] | None:
        release = self._cache.release(key)
        if release is None:
            return None
        if self._cache.traffic(key) is None and not self._note_traffic(key, release):
            return None
        snapshot = glance(self._cache, release, parsed=self._parsed, **settings)
        return None if snapshot is None else (release, snapshot)

    def _note_traffic(self, key: Key, release: Object) -> bool:
        spec = self._parsed.spec(release).spec
        if spec is None:
            return False
        name = spec.traffic.config_map
        self._cache.note_traffic(key, TrafficNote(name, read_traffic_config_map(self._kube, key[0], name)))
        return True

    def _read(self, key: Key, decide: Callable[[Snapshot], _D], settings: dict[str, Any]) -> Seen[_D] | None:
        listed = list_objects(self._kube, self._readers, *key)
        release = self._kube.get(names.KIND, *key)
        if release is None:
            self._forget(key)
            return None
        self._cache.put_release(release, ours=True)
        snapshot = gather(
            self._kube, self._readers, release, listed, parsed=self._parsed, rooms=self._rooms, **settings
        )
        self._cache.note_traffic(key, note_of(snapshot))
        moving = snapshot.status.upgrade is not None
        until = _MOVING_SECONDS if moving else self._rest() * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        with self._lock:
            self._read_by[key] = self._clock() + until
        return Seen(release, snapshot, decide(snapshot), "read")

    def _forget(self, key: Key) -> None:
        self._cache.forget_release(key)
        with self._lock:
            self._read_by.pop(key, None)


def settings(clock: ServerClock, samples: Samples, epoch: int, new_upgrades: bool) -> dict[str, Any]:
    """What a snapshot holds besides what is read: this process's own part of it."""
    return {
        "samples": samples,
        "epoch": epoch,
        "now": clock.now(),
        "server_now": clock.server_now(),
        "new_upgrades": new_upgrades,
    }
