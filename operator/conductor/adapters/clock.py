"""The clock of all decisions: the API server's time as its answers tell it, carried on by the monotonic clock.

The machine's own clock is not asked, so that one which is wrong or jumps is not noticed, and two replicas on two
machines agree. Where the API server's clock jumps, what we wrote down before it is measured on as if it had not: we
follow slowly, and deadlines stay true but for a twentieth.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import structlog

_log = structlog.get_logger(__name__)

#: A Date tells whole seconds; a difference of so much more is a jump, not a clock that is being set right.
_STEP_SECONDS = 1.5
#: How fast a jump is followed: of every second that passes, this much.
_SLEW = 0.05
#: An answer that took longer says too little of when its Date was written.
_PROMPT_SECONDS = 2.0


def wall_clock() -> datetime:
    """This machine's clock: for people and for logs, never for decisions."""
    return datetime.now(UTC)


class ServerClock:
    """Thread-safe. Seconds on `monotonic` never go back; `wall` answers until the API server did."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = wall_clock,
        on_gap: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.monotonic = monotonic
        self._wall = wall
        self._on_gap = on_gap
        self._lock = threading.Lock()
        #: Seconds since the epoch at the monotonic clock's zero: as the newest answer has it, and as we hold it.
        self._server: float | None = None
        self._held = 0.0
        self._prompt = False
        self._told_at = 0.0
        self._last = 0.0
        self._jumped = False

    def now(self) -> datetime:
        """The time that durations are measured with: it never goes back, and never jumps."""
        with self._lock:
            if self._server is None:
                return self._wall()
            self._last = max(self._last, self._held + self.monotonic())
            return datetime.fromtimestamp(self._last, UTC)

    def server_now(self) -> datetime:
        """What the API server would write on an object now."""
        with self._lock:
            if self._server is None:
                return self._wall()
            return datetime.fromtimestamp(self._server + self.monotonic(), UTC)

    def told(self, date: str | None, asked: float, answered: float) -> None:
        """An answer with this Date came at `answered` to what was asked at `asked`, both on the monotonic clock."""
        stamp = _seconds(date)
        if stamp is None:
            return
        prompt = answered - asked <= _PROMPT_SECONDS
        earliest, latest = stamp - answered, stamp + 1.0 - asked
        with self._lock:
            if self._server is None or (prompt and not self._prompt):
                self._server = self._held = (earliest + latest) / 2
            elif prompt:
                self._server = min(max(self._server, earliest), latest)
                self._follow(answered)
            self._prompt = self._prompt or prompt
            self._told_at = max(self._told_at, answered)
            gap = self._server - self._held
        self._on_gap(gap)

    def _follow(self, answered: float) -> None:
        assert self._server is not None
        gap = self._server - self._held
        jumped = abs(gap) > _STEP_SECONDS
        if jumped and not self._jumped:
            _log.warning("the API server's clock jumped; it is followed slowly", seconds=round(gap, 1))
        self._jumped = jumped
        if jumped:
            most = _SLEW * max(0.0, answered - self._told_at)
            gap = min(max(gap, -most), most)
        self._held += gap


def _seconds(date: str | None) -> float | None:
    """Seconds since the epoch of an HTTP date; None where there is none that can be read."""
    if not date:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
