"""Events are written beside passes: nobody's way back waits until the API server has taken a word for people."""

import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait

import structlog

from conductor.adapters.kube import ApiError, Kube, Object
from conductor.domain.plan import Announcement
from conductor.effects.announce import announce, event_of
from conductor.runtime import metrics

_log = structlog.get_logger(__name__)
#: An API server that takes so many Events no more takes nothing else either.
_MOST_WAITING = 1000
_CLOSING_SECONDS = 5.0


class Announcer:
    """Thread-safe. Events of one release are written in the order in which they are told."""

    def __init__(self, kube: Kube, lanes: Sequence[Executor]) -> None:
        """`lanes`: each must carry out what is submitted to it one after the other."""
        self._kube = kube
        self._lanes = lanes
        self._lock = threading.Lock()
        self._waiting: set[Future[None]] = set()

    def tell(self, release: Object, occasion: str, announcement: Announcement) -> None:
        """Have the Event written soon. What it says stands in the status too: it may get lost."""
        if self.waiting() >= _MOST_WAITING:
            self._lost(announcement.reason, "TooMany", f"{_MOST_WAITING} others wait")
            return
        metadata = release["metadata"]
        whose = f"{metadata['namespace']}/{metadata['name']}".encode()
        lane = self._lanes[zlib.crc32(whose) % len(self._lanes)]
        written = lane.submit(self._write, event_of(release, occasion, announcement))
        with self._lock:
            self._waiting.add(written)
        written.add_done_callback(self._done)

    def waiting(self) -> int:
        """Events that are not written yet."""
        with self._lock:
            return len(self._waiting)

    def close(self) -> None:
        """Give what waits a moment, and forget the rest."""
        with self._lock:
            waiting = set(self._waiting)
        wait(waiting, timeout=_CLOSING_SECONDS)
        for lane in self._lanes:
            lane.shutdown(wait=False, cancel_futures=True)

    def _write(self, event: Object) -> None:
        try:
            announce(self._kube, event)
        except ApiError as error:
            self._lost(event["reason"], error.reason or str(error.status), str(error))

    def _done(self, written: Future[None]) -> None:
        with self._lock:
            self._waiting.discard(written)
        if not written.cancelled() and (defect := written.exception()) is not None:
            _log.error("event ended in a defect", exc_info=defect)

    def _lost(self, told: str, reason: str, error: str) -> None:
        metrics.EVENT_ERRORS.labels(reason).inc()
        _log.warning("event not written", reason=told, error=error)
