"""The users of `bench/migrations.py`: writers and readers on persistent connections, each in a closed loop.

They run in a process of their own, so that nothing which the benchmark does holds them up. Each sends its next request
a think time after the last answer. A writer knows one shape of the table, the old or the new one, as a version does.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import NamedTuple

import asyncpg

REPORT = "report"
WRITERS, READERS, STANDBY_READERS, PULSE = "writers", "readers", "standby readers", "pulse"
#: A tenth of the updates goes to rows that the backfill is about to reach: chance alone would hardly ever meet it.
_NEAR_THE_BACKFILL = 0.1
_CHASE_SECONDS = 0.2
_PULSE_SECONDS = 0.05
_CONNECT_SECONDS = 60.0

_INSERT = {
    "old": "INSERT INTO executions (id, tenant, name, owner) VALUES ($1, $2, 'run', $3)",
    "new": "INSERT INTO executions (id, tenant, name, owner_name, owner_email) VALUES ($1, $2, 'run', $3, $4)",
}
_UPDATE = {
    "old": "UPDATE executions SET owner = $2 WHERE id = $1",
    "new": "UPDATE executions SET owner_name = $2, owner_email = $3 WHERE id = $1",
}
_READ = "SELECT id, tenant, name, state, created_at FROM executions WHERE id = $1"
_LIST = "SELECT id, name, state FROM executions WHERE tenant = $1 ORDER BY created_at DESC LIMIT 20"
_REPORT = "SELECT count(*) FROM (SELECT state FROM executions LIMIT 1000) AS some_rows"
_NEXT = """
SELECT id FROM executions WHERE id > (
    SELECT cursor::uuid FROM maestro_conductor.events WHERE event = 'batch' ORDER BY seq DESC LIMIT 1
) ORDER BY id LIMIT 4000
"""


class Shapes(StrEnum):
    """What the writers know: all the old shape, half of them each, all the new one."""

    OLD = "old"
    BOTH = "both"
    NEW = "new"


class Sample(NamedTuple):
    """One request. `began` is on the machine's monotonic clock, in seconds; `failure` is empty or an SQLSTATE."""

    kind: str
    began: float
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Users:
    """Who is at work on which database. Seconds; a report is a transaction that holds its lock for so long."""

    primary: str
    standby: str
    rows: int
    writers: int = 50
    readers: int = 10
    standby_readers: int = 10
    think_seconds: float = 0.1
    report_seconds: float = 2.0
    report_on_standby: bool = False


class Clients:
    """The process in which they run. Not one sample is looked at before the end: it would cost them time."""

    def __init__(self, users: Users) -> None:
        context = multiprocessing.get_context("spawn")
        self._talk, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(users, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if not self._talk.poll(_CONNECT_SECONDS):
            raise TimeoutError(f"the clients were not connected within {_CONNECT_SECONDS:.0f} s")
        self._talk.recv()

    def know(self, shapes: Shapes) -> None:
        self._talk.send(shapes)
        self._talk.recv()

    def end(self) -> list[Sample]:
        self._talk.send(None)
        samples: list[Sample] = self._talk.recv()
        self._process.join(timeout=_CONNECT_SECONDS)
        return samples


@dataclass
class _Work:
    """What all loops of the process share."""

    users: Users
    samples: list[Sample] = field(default_factory=list)
    shapes: Shapes = Shapes.OLD
    near: list[uuid.UUID] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    connections: list[asyncpg.Connection] = field(default_factory=list)

    def shape(self, number: int) -> str:
        if self.shapes is Shapes.BOTH:
            return "new" if number % 2 else "old"
        return self.shapes.value

    async def think(self) -> None:
        await asyncio.sleep(self.users.think_seconds * random.uniform(0.5, 1.5))

    async def request(self, kind: str, send: Awaitable[object]) -> None:
        began = time.monotonic()
        failure = ""
        try:
            await send
        except asyncpg.PostgresError as error:
            failure = error.sqlstate or type(error).__name__
        except (asyncpg.InterfaceError, OSError) as error:
            failure = type(error).__name__
        self.samples.append(Sample(kind, began, time.monotonic() - began, failure))

    async def write(self, connection: asyncpg.Connection, number: int) -> None:
        while True:
            await self.think()
            shape = self.shape(number)
            name, email = f"Writer {number}", f"w{random.randrange(10_000)}@example.org"
            owner = (f"{name} <{email}>",) if shape == "old" else (name, email)
            if random.random() < 0.5:
                tenant = f"tenant-{random.randrange(40)}"
                await self.request(WRITERS, connection.execute(_INSERT[shape], uuid.uuid4(), tenant, *owner))
            else:
                await self.request(WRITERS, connection.execute(_UPDATE[shape], self.some_row(), *owner))

    async def read(self, connection: asyncpg.Connection, kind: str) -> None:
        while True:
            await self.think()
            if random.random() < 0.8:
                await self.request(kind, connection.fetch(_READ, self.some_row()))
            else:
                await self.request(kind, connection.fetch(_LIST, f"tenant-{random.randrange(40)}"))

    async def report(self, connection: asyncpg.Connection) -> None:
        """Long transactions are what a request for a strong lock waits behind, and others behind that."""
        while True:
            # A standby may end it for what it has to replay; nothing else may go wrong unseen.
            with suppress(asyncpg.QueryCanceledError, asyncpg.SerializationError):
                await connection.execute(f"SET application_name = '{REPORT}'")
                async with connection.transaction():
                    await connection.fetch(_REPORT)
                    await asyncio.sleep(self.users.report_seconds)
            await asyncio.sleep(self.users.report_seconds)

    async def chase(self, connection: asyncpg.Connection) -> None:
        while True:
            await asyncio.sleep(_CHASE_SECONDS)
            # Before the runner's first step there is no ledger.
            with suppress(asyncpg.UndefinedTableError):
                self.near = [row["id"] for row in await connection.fetch(_NEXT)]

    async def pulse(self) -> None:
        """How late this process itself is: no request can be told to be quicker than that."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_PULSE_SECONDS)
            self.samples.append(Sample(PULSE, began, max(0.0, time.monotonic() - began - _PULSE_SECONDS)))

    def some_row(self) -> uuid.UUID:
        near = self.near
        if near and random.random() < _NEAR_THE_BACKFILL:
            return random.choice(near)
        return row_id(random.randint(1, self.users.rows))


def row_id(number: int) -> uuid.UUID:
    """As the table was filled."""
    return uuid.UUID(hashlib.md5(f"execution {number}".encode(), usedforsecurity=False).hexdigest())


def _main(users: Users, talk: Connection) -> None:
    asyncio.run(_serve(users, talk))


async def _serve(users: Users, talk: Connection) -> None:
    work = _Work(users)

    async def at(url: str, body: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        connection = await asyncpg.connect(url)
        work.connections.append(connection)
        work.tasks.append(asyncio.ensure_future(_forever(body(connection))))

    for number in range(users.writers):
        await at(users.primary, lambda c, n=number: work.write(c, n))  # type: ignore[misc]
    for _ in range(users.readers):
        await at(users.primary, lambda c: work.read(c, READERS))
    for _ in range(users.standby_readers):
        await at(users.standby, lambda c: work.read(c, STANDBY_READERS))
    if users.report_seconds:
        await at(users.primary, work.report)
        if users.report_on_standby:
            await at(users.standby, work.report)
    await at(users.primary, work.chase)
    work.tasks.append(asyncio.ensure_future(work.pulse()))
    talk.send(True)
    loop = asyncio.get_running_loop()
    while (said := await loop.run_in_executor(None, talk.recv)) is not None:
        work.shapes = said
        talk.send(True)
    for task in work.tasks:
        task.cancel()
    broken = [
        found for found in await asyncio.gather(*work.tasks, return_exceptions=True)
        if isinstance(found, Exception)
    ]  # fmt: skip
    for connection in work.connections:
        connection.terminate()
    if broken:
        raise broken[0]
    talk.send(work.samples)


async def _forever(body: Awaitable[None]) -> None:
    await body
