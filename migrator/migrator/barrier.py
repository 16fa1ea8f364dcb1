"""Waiting for replicas: for all that was committed at the end of a phase, and for most of it between two batches."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection

from migrator.answer import log_line
from migrator.dsn import Dsn
from migrator.origin import origin_of
from migrator.replicas import Lack, Mark, Sighting, lack_of, look, lsn_text, mark_of
from migrator.settings import Limits
from migrator.stops import Reason, Refused, TryAgain

_POLL_SECONDS = 0.1
_LAG_IS_FRESH_SECONDS = 0.25
_MOMENT_SECONDS = 2.0
_STREAMED = """
SELECT application_name || coalesce(' at ' || host(client_addr), ''),
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
"""


@dataclass(frozen=True)
class Told:
    """A replica as the answer shows it."""

    endpoint: str
    sighting: Sighting | None
    lack: Lack | None

    def content(self) -> dict[str, object]:
        seen = self.sighting
        shown: dict[str, object] = {"endpoint": self.endpoint, "state": "ok"}
        if self.lack is not None:
            shown["state"] = self.lack.reason.value
        if seen is not None:
            shown |= {"lsn": lsn_text(seen.lsn), "ledgerLine": seen.line[0] if seen.line else 0}
            shown |= {"timeline": seen.timeline} if seen.timeline is not None else {}
        return shown


@dataclass(frozen=True)
class Lag:
    """How far a replica is behind, and what else is wrong with it where that is known."""

    name: str
    bytes: int
    lack: Lack | None

    def stop(self, limits: Limits) -> TryAgain:
        if self.lack is not None and self.lack.reason is not Reason.REPLICA_BEHIND:
            return TryAgain(self.lack.reason, self.lack.message, self.lack.mend)
        return TryAgain(
            Reason.REPLICA_BEHIND,
            f"replica {self.name} stayed more than {limits.max_lag_bytes} bytes behind for "
            f"{limits.replica_wait_seconds} s ({self.bytes} now); the backfill waits for it",
            "look for what slows or pauses its replay; or take it away from the primary and retry",
        )


@dataclass
class Replicas:
    """Every replica that the release named, and the primary's own word about those that it did not."""

    endpoints: Sequence[Dsn]
    open: Callable[[Dsn], Connection[Any]]
    limits: Limits
    _connections: dict[str, Connection[Any]] = field(default_factory=dict)
    _looked_at: float = 0.0
    _warned: bool = False

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def tell(self, primary: Connection[Any]) -> tuple[Told, ...]:
        """How each stands to what the primary has now. Raises nothing: one that does not answer is told as such."""
        mark = mark_of(primary, origin_of(primary))
        return tuple(self._told_soon(endpoint, mark) for endpoint in self.endpoints)

    def opened(self) -> Iterator[tuple[str, Connection[Any]]]:
        """Those that answer; what is wrong with the others is told where they are waited for."""
        for endpoint in self.endpoints:
            try:
                connection = self._connection(endpoint)
            except psycopg.Error:
                continue
            yield endpoint.place, connection

    def each(self) -> list[tuple[str, Connection[Any]]]:
        """Endpoint and connection of every replica. Raise TryAgain where one does not answer."""
        return [(endpoint.place, self._connected(endpoint)) for endpoint in self.endpoints]

    def refuse_wrong(self, primary: Connection[Any]) -> None:
        """Before a step begins: raise Refused where waiting at its end would not help. Nothing is waited for."""
        mark = mark_of(primary, origin_of(primary))
        for endpoint in self.endpoints:
            _refuse_lasting(self._told(endpoint, mark))

    def wait(self, primary: Connection[Any]) -> None:
        """Until each has all that is committed on the primary now; raise what keeps the first one from it."""
        mark = mark_of(primary, origin_of(primary))
        deadline = time.monotonic() + self.limits.replica_wait_seconds
        for endpoint in self.endpoints:
            while (lack := _refuse_lasting(self._told(endpoint, mark))) is not None:
                if time.monotonic() > deadline:
                    raise TryAgain(lack.reason, lack.message, lack.mend)
                time.sleep(_POLL_SECONDS)

    def throttle(self, primary: Connection[Any]) -> None:
        """Between two batches: until no replica is further behind than it may be."""
        if time.monotonic() - self._looked_at < _LAG_IS_FRESH_SECONDS:
            return
        began, told = time.monotonic(), False
        while (slowest := self._furthest_behind(primary)) is not None:
            if time.monotonic() - began > self.limits.replica_wait_seconds:
                raise slowest.stop(self.limits)
            if not told:
                told = True
                log_line("info", "waiting for a replica", replica=slowest.name, lagBytes=slowest.bytes)
            time.sleep(_POLL_SECONDS)
        self._looked_at = time.monotonic()

    def _furthest_behind(self, primary: Connection[Any]) -> Lag | None:
        lags = self._named(primary) if self.endpoints else self._streamed(primary)
        slowest = max(lags, key=lambda lag: lag.bytes, default=None)
        return slowest if slowest is not None and slowest.bytes > self.limits.max_lag_bytes else None

    def _named(self, primary: Connection[Any]) -> list[Lag]:
        mark = mark_of(primary, origin_of(primary))
        told = [self._told(endpoint, mark) for endpoint in self.endpoints]
        for one in told:
            _refuse_lasting(one)
        # One that does not answer is as far behind as can be.
        return [
            Lag(one.endpoint, mark.lsn - (one.sighting.lsn if one.sighting else 0), one.lack) for one in told
        ]

    def _streamed(self, primary: Connection[Any]) -> list[Lag]:
        rows = primary.execute(_STREAMED).fetchall()
        unknown = [name for name, lag in rows if lag is None]
        if unknown and not self._warned:
            self._warned = True
            log_line(
                "warning",
                "replica lag unknown, batches are only paced by MIGRATOR_PAUSE_MS",
                replicas=len(unknown),
                mend="GRANT pg_monitor to the role of DATABASE_URL, or name the replicas in the release",
            )
        return [Lag(name, lag, None) for name, lag in rows if lag is not None]

    def _connected(self, endpoint: Dsn) -> Connection[Any]:
        try:
            return self._connection(endpoint)
        except psycopg.Error as error:
            lack = _silent(endpoint, error)
            raise TryAgain(lack.reason, lack.message, lack.mend) from error

    def _connection(self, endpoint: Dsn) -> Connection[Any]:
        if endpoint.place not in self._connections:
            self._connections[endpoint.place] = self.open(endpoint)
        return self._connections[endpoint.place]

    def _told_soon(self, endpoint: Dsn, mark: Mark) -> Told:
        """What is on its way is not behind: under users' writes a standby is always some milliseconds late."""
        deadline = time.monotonic() + _MOMENT_SECONDS
        while True:
            told = self._told(endpoint, mark)
            on_its_way = told.lack is not None and told.lack.reason is Reason.REPLICA_BEHIND
            if not on_its_way or time.monotonic() > deadline:
                return told
            time.sleep(_POLL_SECONDS)

    def _told(self, endpoint: Dsn, mark: Mark) -> Told:
        try:
            seen = look(self._connection(endpoint), endpoint.place)
        except psycopg.Error as error:
            broken = self._connections.pop(endpoint.place, None)
            if broken is not None:
                broken.close()
            return Told(endpoint.place, None, _silent(endpoint, error))
        return Told(endpoint.place, seen, lack_of(seen, mark))


def _refuse_lasting(told: Told) -> Lack | None:
    """What may pass; raise Refused for what does not."""
    if told.lack is not None and told.lack.lasting:
        raise Refused(told.lack.reason, told.lack.message, told.lack.mend)
    return told.lack


def _silent(endpoint: Dsn, error: psycopg.Error) -> Lack:
    said = " ".join((error.diag.message_primary or str(error)).split())
    return Lack(
        Reason.REPLICA_UNREACHABLE,
        f"replica {endpoint.place} does not answer: {said}",
        "check that it runs and lets this role read; where it is gone, take it out of the release",
    )
