"""What befalls a telling from beside it: in each of its phases, or over and over while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

from harness.releases import PhaseRecorder, Release

PHASES = ("Preflight", "BringingUp", "Migrating", "Verifying", "Switching", "Soaking", "Closing")
#: Long enough to stand still in; the others pass in a moment, and are met with their neighbours.
LONG_PHASES = {"BringingUp", "Verifying", "Switching", "Soaking", "Closing"}


class InEachPhase:
    """`begin` happens as soon as a phase of an upgrade is seen, and `end` some seconds later."""

    def __init__(
        self,
        release: Release,
        begin: Callable[[], object],
        end: Callable[[], object] = lambda: None,
        seconds: float = 0.0,
    ) -> None:
        self.met: list[str] = []
        self.recorder = PhaseRecorder(release, self._meet)
        self._begin, self._end, self._seconds = begin, end, seconds
        self._over = threading.Event()

    def __enter__(self) -> InEachPhase:
        self.recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.recorder.__exit__()

    def _meet(self, _at: datetime, status: dict[str, Any]) -> None:
        phase = status.get("phase", "")
        if phase in self.met or phase not in PHASES or not status.get("upgrade"):
            return
        self.met.append(phase)
        self._begin()
        try:
            self._over.wait(self._seconds)
        finally:
            self._end()


class Again:
    """`begin`, and after `for_seconds` `end`, every so often. `begin` answers how often that has to be counted."""

    def __init__(
        self,
        begin: Callable[[], int],
        every_seconds: float,
        end: Callable[[], object] = lambda: None,
        for_seconds: float = 0.0,
    ) -> None:
        self.happened = 0
        self._begin, self._end = begin, end
        self._every, self._for = every_seconds, for_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Again:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.happened += self._begin()
            try:
                self._over.wait(self._for)
            finally:
                self._end()
