"""Sending clients away without losing one of their requests.

HTTP gives a server one safe way to end a kept connection: to say `Connection: close` in an answer and close
after it. A connection closed while it is idle may meet the client's next request on the wire, which is then
reset. So a drain closes nothing by itself at first: it goes on serving, says `close` in every answer, and
waits for connections to end that way. Only a client that has been silent for long is closed without having
been told.

A drain is over when no client connection is left and no new one has come for a moment (node proxies learn
late that a pod is leaving), or when its time is up. If the process is not stopped after that, it serves as
before: anyone who can reach the port can ask for a drain, and must not be able to do harm with it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
_STAYS_DRAINED_SECONDS = 60.0
_FORGET_FROM = 256


class Connection(Protocol):
    """What a drain needs of the server's connections."""

    def force_close(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class _Traffic:
    last_at: float
    in_flight: int = 0
    # Probes and scrapes come from those who watch the pod; a drain does not wait for them.
    carried_users: bool = False
    carried_any: bool = False

    @property
    def is_users(self) -> bool:
        return self.carried_users or not self.carried_any


@dataclass(frozen=True, slots=True)
class Drained:
    left: int
    seconds: float


class Connections:
    """What each open connection carries, and when it last did."""

    def __init__(
        self, open_connections: Callable[[], Iterable[Connection]], clock: Callable[[], float]
    ) -> None:
        self._open_connections = open_connections
        self._clock = clock
        self._traffic: dict[Connection, _Traffic] = {}
        self._forget_at = _FORGET_FROM
        self.last_user_at = clock()

    def __len__(self) -> int:
        return len(self._traffic)

    def begin(self, connection: Connection, *, from_user: bool) -> None:
        traffic = self._seen(connection)
        traffic.in_flight += 1
        traffic.carried_any = True
        traffic.carried_users = traffic.carried_users or from_user
        if from_user:
            self.last_user_at = self._clock()

    def end(self, connection: Connection) -> None:
        traffic = self._seen(connection)
        traffic.in_flight -= 1
        traffic.last_at = self._clock()
        if traffic.carried_users:
            self.last_user_at = traffic.last_at

    def of_users(self) -> list[Connection]:
        """The open ones that carried a user's request or, having carried none, may be about to."""
        return [each for each in self._open_connections() if self._seen(each).is_users]

    def idle_seconds(self, connection: Connection) -> float:
        traffic = self._seen(connection)
        return 0.0 if traffic.in_flight else self._clock() - traffic.last_at

    def _seen(self, connection: Connection) -> _Traffic:
        traffic = self._traffic.get(connection)
        if traffic is None:
            if len(self._traffic) >= self._forget_at:
                self._forget_closed()
            traffic = self._traffic[connection] = _Traffic(last_at=self._clock())
        return traffic

    def _forget_closed(self) -> None:
        still_open = set(self._open_connections())
        self._traffic = {each: self._traffic[each] for each in self._traffic if each in still_open}
        self._forget_at = max(_FORGET_FROM, 2 * len(self._traffic))


class Drain:
    def __init__(
        self,
        connections: Connections,
        *,
        idle_limit_seconds: float,
        quiet_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._connections = connections
        self._idle_limit_seconds = idle_limit_seconds
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._running = 0
        self._drained_at: float | None = None

    @property
    def done(self) -> bool:
        """Whether a drain ended just now, so that the process may stop."""
        return self._drained_at is not None and self._clock() - self._drained_at < _STAYS_DRAINED_SECONDS

    @property
    def active(self) -> bool:
        """Whether every answer has to say `Connection: close`."""
        return self._running > 0 or self.done

    async def run(self, seconds: float) -> Drained:
        started_at = self._clock()
        deadline = started_at + seconds
        self._running += 1
        log.info("draining for at most %g s", seconds)
        try:
            left = await self._until_gone(started_at, deadline)
        finally:
            self._running -= 1
        self._drained_at = self._clock()
        drained = Drained(left, self._drained_at - started_at)
        log.info("drained in %.1f s, %d client connections left", drained.seconds, drained.left)
        return drained

    async def _until_gone(self, started_at: float, deadline: float) -> int:
        while True:
            users = self._connections.of_users()
            now = self._clock()
            quiet_seconds = now - max(started_at, self._connections.last_user_at)
            if now >= deadline or (not users and quiet_seconds >= self._quiet_seconds):
                return len(users)
            for connection in users:
                if self._connections.idle_seconds(connection) >= self._idle_limit_seconds:
                    connection.force_close()
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - now)))
