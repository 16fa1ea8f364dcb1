"""What the watches last showed of every release: small values by release, never whole objects.

Fed by reflectors (objects that carry a release's label) and by kopf (the releases themselves). A release is
woken when something changed that a decision reads, not for every write to one of its objects.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from conductor.api import names
from conductor.domain.companion import Companion
from conductor.domain.snapshot import TrafficConfigMap
from conductor.observe.held import Value, Values, same, value
from conductor.observe.parsed import Parsed, pack, unpack
from conductor.observe.routes import Routes

Key = tuple[str, str]
Object = dict[str, Any]


@dataclass(slots=True)
class _Release:
    uid: str
    version: int
    packed: bytes
    moves: bool


@dataclass(frozen=True, slots=True)
class TrafficNote:
    """The traffic ConfigMap as it was last read; it is a user's and carries no label, so that no watch shows it."""

    name: str | None
    found: TrafficConfigMap | None
    #: The same of the routes that the release names.
    routes: Routes = field(default_factory=Routes)
    #: The same of autoscalers and disruption budgets; None where nobody looked yet.
    companions: tuple[Companion, ...] | None = None


@dataclass(slots=True)
class _Held:
    release: _Release | None = None
    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    traffic: TrafficNote | None = None

    def empty(self) -> bool:
        return self.release is None and not any(self.values.values())


class Cache:
    """Thread-safe. `wake` is called with each release that something new is known of."""

    def __init__(self, wake: Callable[[Key], None], parsed: Parsed, expected: Iterable[str] = ()) -> None:
        self._wake = wake
        self._parsed = parsed
        self._lock = threading.Lock()
        self._held: dict[Key, _Held] = {}
        self._owners: dict[str, dict[Key, Key]] = {}
        self._unlisted = set(expected)
        self._complete = threading.Event()
        if not self._unlisted:
            self._complete.set()

    # what reflectors tell

    def put(self, kind: str, obj: Object) -> None:
        """An object as it is now."""
        metadata = obj["metadata"]
        release = (metadata.get("labels") or {}).get(names.LABEL_RELEASE)
        namespace, name = metadata["namespace"], metadata["name"]
        new = value(kind, obj, self._parsed) if release else None
        self._replace(kind, (namespace, name), (namespace, release) if release else None, new)

    def drop(self, kind: str, namespace: str, name: str) -> None:
        """An object that is gone."""
        self._replace(kind, (namespace, name), None, None)

    def retain(self, kind: str, namespace: str | None, present: set[Key]) -> None:
        """A whole list was seen (of one namespace, or of all): what is not `present` is gone."""
        with self._lock:
            known = [item for item in self._owners.get(kind, {}) if namespace is None or item[0] == namespace]
        for item in known:
            if item not in present:
                self._replace(kind, item, None, None)

    def listed(self, reflector: str) -> None:
        """One of the expected reflectors has shown everything once."""
        with self._lock:
            self._unlisted.discard(reflector)
            if not self._unlisted:
                self._complete.set()

    @property
    def complete(self) -> bool:
        """Whether every reflector has shown everything once: before that, absence means nothing."""
        return self._complete.is_set()

    def wait_complete(self, timeout_seconds: float) -> bool:
        return self._complete.wait(timeout_seconds)

    def _replace(self, kind: str, item: Key, owner: Key | None, new: Value | None) -> None:
        woken = set()
        with self._lock:
            owners = self._owners.setdefault(kind, {})
            former = owners.get(item)
            if former is not None and former != owner and self._remove(kind, item[1], former):
                woken.add(former)
            if owner is None or new is None:
                owners.pop(item, None)
                if owner is not None and self._remove(kind, item[1], owner):
                    woken.add(owner)
            else:
                owners[item] = owner
                values = self._held.setdefault(owner, _Held()).values.setdefault(kind, {})
                if not same(values.get(item[1]), new):
                    woken.add(owner)
                values[item[1]] = new
            # Of a release that nobody has shown yet, or that left its objects behind, nothing is to be decided.
            woken = {
                key for key in woken if (held := self._held.get(key)) is not None and held.release is not None
            }
        for key in woken:
            self._wake(key)

    def _remove(self, kind: str, name: str, owner: Key) -> bool:
        held = self._held.get(owner)
        if held is None or held.values.get(kind, {}).pop(name, None) is None:
            return False
        if held.empty():
            del self._held[owner]
        return True

    # releases

    def put_release(self, release: Object, *, ours: bool = False) -> None:
        """A release as it was shown; an older version than the one that is known is let go.

        `ours`: as a pass itself read or wrote it, which is no reason to pass again.
        """
        metadata = release["metadata"]
        key, version = (metadata["namespace"], metadata["name"]), int(metadata["resourceVersion"])
        bare = {name: part for name, part in metadata.items() if name != "managedFields"}
        packed = pack({**release, "metadata": bare})
        with self._lock:
            held = self._held.setdefault(key, _Held())
            news = held.release is None or held.release.version < version
            if news:
                held.release = _Release(metadata["uid"], version, packed, _moves(release))
        if news and not ours:
            self._wake(key)

    def forget_release(self, key: Key) -> None:
        """The release is gone."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return
            held.release = held.traffic = None
            if held.empty():
                del self._held[key]

    def gone(self, key: Key) -> None:
        """The release was deleted: one more pass finds that out and lets go of what was measured for it."""
        self.forget_release(key)
        self._wake(key)

    def release(self, key: Key) -> Object | None:
        """The newest known version of a release, as a copy; None where none is known."""
        with self._lock:
            held = self._held.get(key)
            packed = held.release.packed if held and held.release else None
        if packed is None:
            return None
        found: Object = unpack(packed)
        return found

    def uid(self, key: Key) -> str | None:
        """The UID of a release; None where none is known."""
        with self._lock:
            held = self._held.get(key)
            return held.release.uid if held and held.release else None

    # what passes ask

    def values(self, key: Key) -> Values:
        """Everything known of a release's objects at one moment."""
        with self._lock:
            held = self._held.get(key)
            return {kind: dict(values) for kind, values in held.values.items()} if held else {}

    def traffic(self, key: Key) -> TrafficNote | None:
        """What was last read of the release's traffic ConfigMap."""
        with self._lock:
            held = self._held.get(key)
            return held.traffic if held else None

    def note_traffic(self, key: Key, note: TrafficNote) -> None:
        """Remember what was read just now."""
        with self._lock:
            if key in self._held:
                self._held[key].traffic = note

    def releases(self) -> tuple[list[Key], list[Key]]:
        """Every release that is known: those about which something is to be done or is under way, and the others."""
        moving: list[Key] = []
        resting: list[Key] = []
        with self._lock:
            for key, held in self._held.items():
                if held.release is not None:
                    (moving if held.release.moves else resting).append(key)
        return moving, resting

    def owners(self) -> list[Key]:
        """Every release that something is known of, be it only objects that it left behind."""
        with self._lock:
            return list(self._held)

    def count(self, kind: str = "") -> int:
        """How many objects of a kind are known; without one, how many releases."""
        with self._lock:
            if kind:
                return len(self._owners.get(kind, {}))
            return sum(held.release is not None for held in self._held.values())


def _moves(release: Object) -> bool:
    status, metadata = release.get("status") or {}, release["metadata"]
    unseen = status.get("observedGeneration") != metadata.get("generation")
    return unseen or "deletionTimestamp" in metadata or bool(status.get("upgrade"))
