"""The way to PostgreSQL: a small pool, retries inside of a deadline, and whether the database is there."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from mc.shapes import Shape
from mc.store import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")

# Trouble that passes: a lost connection, a server that restarts or is full, a lost race between transactions.
_PASSING = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,
)

_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass('executions') AND attnum > 0 AND NOT attisdropped
"""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
_PULSE_SECONDS = 5.0
# Every pod loses the database at the same moment. Were all of them to turn unready for a hiccup, the Service
# would refuse connections instead of answering late, so only a database that stays away counts.
_AWAY_SECONDS = 30.0


class DatabaseUnavailableError(Exception):
    """The database gave no answer inside of the deadline."""


@dataclass(frozen=True, slots=True)
class Attempt:
    connection: Connection
    number: int


class Database:
    def __init__(self, url: str, *, name: str, shape: Shape, pool_size: int, deadline_seconds: float) -> None:
        self._url = url
        self._name = name
        self._needed_columns = shape.needed_columns
        self._pool_size = pool_size
        self._deadline_seconds = deadline_seconds
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._trouble: str | None = "no connection to the database was made yet"
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background, for as long as it takes; `unready()` tells how it stands."""
        self._task = asyncio.create_task(self._connect_and_watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._pool is not None:
            self._pool.terminate()

    def unready(self) -> str | None:
        """Why requests cannot be served, or nothing."""
        if self._trouble is not None:
            return self._trouble
        silent_seconds = asyncio.get_running_loop().time() - self._heard_at
        if silent_seconds > _AWAY_SECONDS:
            return f"the database has given no answer for {silent_seconds:.0f} s"
        return None

    async def run(self, work: Callable[[Attempt], Awaitable[T]]) -> T:
        """Do work that may be repeated, and repeat it while trouble passes and the deadline permits."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_seconds
        number = 0
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    number += 1
                    try:
                        return await self._once(work, number)
                    except _PASSING as trouble:
                        log.warning("database trouble, attempt %d: %r", number, trouble)
                        await asyncio.sleep(_pause_seconds(number))
        except TimeoutError:
            message = f"the database gave no answer within {self._deadline_seconds:g} s ({number} attempts)"
            raise DatabaseUnavailableError(message) from None

    async def _once(self, work: Callable[[Attempt], Awaitable[T]], number: int) -> T:
        if self._pool is None:
            raise ConnectionError(self._trouble)
        async with self._pool.acquire() as connection:
            result = await work(Attempt(connection, number))
        self._heard_at = asyncio.get_running_loop().time()
        return result

    async def _connect_and_watch(self) -> None:
        number = 0
        while self._trouble is not None:
            number += 1
            try:
                self._trouble = await self._connect()
            except (*_PASSING, asyncpg.PostgresError, TimeoutError) as trouble:
                self._trouble = f"no connection to the database: {trouble!r}"
            if self._trouble is not None:
                log.warning(self._trouble)
                await asyncio.sleep(_pause_seconds(number))
        log.info("the database is there")
        while True:
            await asyncio.sleep(_PULSE_SECONDS)
            try:
                await self.run(_pulse)
            except (DatabaseUnavailableError, asyncpg.PostgresError) as trouble:
                log.warning("no pulse from the database: %s", trouble)

    async def _connect(self) -> str | None:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=self._pool_size,
                timeout=_CONNECT_SECONDS,
                reset=_nothing_to_reset,
                server_settings={"application_name": self._name},
            )
        async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
            columns = {row["attname"] for row in await connection.fetch(_COLUMNS)}
        self._heard_at = asyncio.get_running_loop().time()
        missing = sorted(self._needed_columns - columns)
        if missing:
            return (
                f"table executions lacks {', '.join(missing)}: "
                "this version cannot serve before its expand step is done, nor after a later contract step"
            )
        return None


async def _pulse(attempt: Attempt) -> None:
    await attempt.connection.fetchval("SELECT 1")


async def _nothing_to_reset(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare the round trip of a reset: each statement is its own transaction and leaves no state behind."""
    if connection.is_in_transaction():
        await connection.reset()


def _pause_seconds(number: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(number - 1, 10))
    # Spread, so that pods that were cut off together do not come back in step.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311
