"""Whose turn it is: at most one pass per release at a time, due now or later.

The same rules as client-go's workqueue: a release that is asked for while its pass is running is
passed again once that pass ends; asking twice is asking once; the earlier time wins.
"""

import heapq
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = tuple[str, str]
#: What takes turns: comparable, because two may be due at once.
_K = TypeVar("_K", bound="tuple[object, ...]")
#: So many turns that were asked for earlier since are let stand before they are swept out.
_STALE_TURNS = 64


class Turns(Generic[_K]):
    """Thread-safe. `clock` answers seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[_K, float] = {}
        #: Every turn of `_due` and of no running key, the earliest first; others in it are stale and passed over.
        self._queue: list[tuple[float, _K]] = []
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
                    heapq.heappop(self._queue)
                    del self._due[key]
                    self._running.add(key)
                    if self._queue:
                        # Another one may wait for a later turn than the one that is first now.
                        self._changed.notify()
                    return key, late
                self._changed.wait(-late)
            return None

    def forget(self, key: _K) -> None:
        """Nobody asks for `key` any more."""
        with self._changed:
            self._due.pop(key, None)

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
        heapq.heappush(self._queue, (at, key))
        if len(self._queue) > 2 * len(self._due) + _STALE_TURNS:
            self._queue = [(at, key) for key, at in self._due.items() if key not in self._running]
            heapq.heapify(self._queue)
        if self._queue[0] == (at, key):
            self._changed.notify()

    def _first(self) -> tuple[float, _K] | None:
        while self._queue:
            at, key = self._queue[0]
            if self._due.get(key) == at and key not in self._running:
                return at, key
            heapq.heappop(self._queue)
        return None
