"""Whose turn it is: at most one pass per release at a time, due now or later.

The same rules as client-go's workqueue: a release that is asked for while its pass is running is
passed again once that pass ends; asking twice is asking once; the earlier time wins.

Keys that are pressing go before others that are due, so that users on a bad version do not stand in a queue behind a
hundred upgrades that begin. Nobody is starved: five seconds of lateness weigh as much.
"""

import heapq
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = tuple[str, str]
#: What takes turns: comparable, because two may be due at once.
_K = TypeVar("_K", bound="tuple[object, ...]")
#: So much earlier a pressing key counts as due than it is.
_HEAD_START_SECONDS = 5.0
#: So many turns that were asked for earlier since are let stand before they are swept out.
_STALE_TURNS = 64


class Turns(Generic[_K]):
    """Thread-safe. `clock` answers seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[_K, float] = {}
        #: By whether they press: every turn of `_due` and of no running key, the earliest first; others in it are
        #: stale and passed over.
        self._queues: dict[bool, list[tuple[float, _K]]] = {True: [], False: []}
        self._pressing: set[_K] = set()
        self._running: set[_K] = set()
        self._changed = threading.Condition()
        self._closed = False

    def ask(self, key: _K, after_seconds: float = 0.0) -> None:
        """Ask for a pass of `key` in `after_seconds` at the latest."""
        at = self._clock() + max(0.0, after_seconds)
        with self._changed:
            if self._due.get(key, float("inf")) > at:
                self._due[key] = at
                if key not in self._running:
                    self._enqueue(at, key)

    def press(self, key: _K, pressing: bool) -> None:
        """Whether `key` goes before others from its next turn on."""
        with self._changed:
            (self._pressing.add if pressing else self._pressing.discard)(key)

    def take(self) -> tuple[_K, float] | None:
        """Wait for a turn: the key, and how many seconds late it is. None once closed."""
        with self._changed:
            while not self._closed:
                first = self._first()
                if first is None:
                    self._changed.wait()
                    continue
                at, key = first
                late = self._clock() - at
                if late >= 0:
                    del self._due[key]
                    self._running.add(key)
                    if self._due:
                        # Another one may wait for a later turn than the one that is first now.
                        self._changed.notify()
                    return key, late
                self._changed.wait(-late)
            return None

    def forget(self, key: _K) -> None:
        """Nobody asks for `key` any more."""
        with self._changed:
            self._due.pop(key, None)
            self._pressing.discard(key)

    def done(self, key: _K) -> None:
        """The pass of `key` ended."""
        with self._changed:
            self._running.discard(key)
            if key in self._due:
                self._enqueue(self._due[key], key)

    def waiting(self) -> int:
        """How many releases have a turn coming."""
        with self._changed:
            return len(self._due)

    def close(self) -> None:
        """Let everybody who waits go home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enqueue(self, at: float, key: _K) -> None:
        pressing = key in self._pressing
        heapq.heappush(self._queues[pressing], (at, key))
        if sum(map(len, self._queues.values())) > 2 * len(self._due) + _STALE_TURNS:
            waiting = [(at, key) for key, at in self._due.items() if key not in self._running]
            for which, queue in self._queues.items():
                queue[:] = [turn for turn in waiting if (turn[1] in self._pressing) is which]
                heapq.heapify(queue)
        # Stale turns before it must not look like an earlier one for which somebody is awake already.
        if self._head(pressing) == (at, key):
            self._changed.notify()

    def _first(self) -> tuple[float, _K] | None:
        """The turn that is to be taken next, or the next that will be due."""
        pressing, other = self._head(True), self._head(False)
        if pressing is None or other is None:
            return pressing or other
        now = self._clock()
        if pressing[0] > now or other[0] > now:
            return min(pressing, other)
        return pressing if pressing[0] - _HEAD_START_SECONDS <= other[0] else other

    def _head(self, pressing: bool) -> tuple[float, _K] | None:
        queue = self._queues[pressing]
        while queue:
            at, key = queue[0]
            if self._due.get(key) == at and key not in self._running:
                return at, key
            heapq.heappop(queue)
        return None
