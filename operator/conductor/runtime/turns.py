"""Whose turn it is: at most one pass per release at a time, due now or later.

The same rules as client-go's workqueue: a release that is asked for while its pass is running is
passed again once that pass ends; asking twice is asking once; the earlier time wins.
"""

import threading
from collections.abc import Callable

Key = tuple[str, str]


class Turns:
    """Thread-safe. `clock` answers seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._changed = threading.Condition()
        self._closed = False

    def ask(self, key: Key, after_seconds: float = 0.0) -> None:
        """Ask for a pass of `key` in `after_seconds` at the latest."""
        at = self._clock() + max(0.0, after_seconds)
        with self._changed:
            if self._due.get(key, float("inf")) > at:
                self._due[key] = at
                self._changed.notify_all()

    def take(self) -> tuple[Key, float] | None:
        """Wait for a turn: the key, and how many seconds late it is. None once closed."""
        with self._changed:
            while not self._closed:
                free = ((at, key) for key, at in self._due.items() if key not in self._running)
                at, key = min(free, default=(float("inf"), ("", "")))
                late = self._clock() - at
                if late >= 0:
                    del self._due[key]
                    self._running.add(key)
                    return key, late
                self._changed.wait(None if at == float("inf") else -late)
            return None

    def done(self, key: Key) -> None:
        """The pass of `key` ended."""
        with self._changed:
            self._running.discard(key)
            self._changed.notify_all()

    def waiting(self) -> int:
        """How many releases have a turn coming."""
        with self._changed:
            return len(self._due)

    def close(self) -> None:
        """Let everybody who waits go home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
