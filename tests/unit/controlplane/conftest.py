"""A real PostgreSQL for the tests of mc, databases in each shape of its schema, and the API in one event loop."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
from tests.migrator.server import Server, running_server

from mc.api import Api
from mc.edition import edition_of
from mc.settings import Settings

MIGRATIONS = Path(__file__).resolve().parents[3] / "controlplane" / "migrations"
WAIT_SECONDS = 10.0

Answer: TypeAlias = tuple[int, Any]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="mc-tests-") as folder, running_server(Path(folder)) as running:
        yield running


@dataclass(frozen=True)
class Plane:
    """A database of mc, and the steps that change its schema."""

    server: Server
    database: str

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    def step(self, version: str, phase: str) -> None:
        """Do what the migration runner does in this phase, in one transaction."""
        with self.server.connect(self.database) as connection, connection.transaction():
            connection.execute((MIGRATIONS / version / f"{phase}.sql").read_text().encode())

    def value(self, query: str) -> Any:
        with self.server.connect(self.database) as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def end_connections(self) -> int:
        """End every connection to this database, as a failover does."""
        ended = self.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(ended)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """A database at 1.0.0, to be copied."""
    server.create("mc_template")
    Plane(server, "mc_template").step("1.0.0", "expand")
    return "mc_template"


@pytest.fixture
def plane(server: Server, template: str) -> Iterator[Plane]:
    name = f"mc_{uuid.uuid4().hex}"
    server.create(name, template)
    yield Plane(server, name)
    server.drop(name)


@dataclass(frozen=True)
class Running:
    """An API that serves, and a client for it."""

    api: Api
    port: int
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str, **query: str) -> Answer:
        async with self.session.get(self.url + path, params=query) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: object = None) -> Answer:
        async with self.session.post(self.url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def publish(self, **change: object) -> str:
        fields = a_publication(**change)
        assert (await self.post("/executions", fields))[0] == 201
        return str(fields["id"])

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200


def a_publication(**change: object) -> dict[str, object]:
    fields = {
        "id": str(uuid.uuid4()),
        "tenant": "acme",
        "owner": "Ada Lovelace <ada@example.org>",
        "name": "first",
    }
    return {**fields, **change}


def settings_for(plane: Plane, **change: Any) -> Settings:
    settings = Settings.from_environment({"DATABASE_URL": plane.url, "MC_TRAFFIC_FILE": "/nonexistent"})
    return replace(settings, host="127.0.0.1", port=0, **change)


@asynccontextmanager
async def running_api(plane: Plane, version: str, **change: Any) -> AsyncIterator[Running]:
    api = Api(settings_for(plane, **change), edition_of(version))
    try:
        port = await api.start()
        async with aiohttp.ClientSession() as session:
            yield Running(api, port, session)
    finally:
        await api.stop()


@asynccontextmanager
async def ready_api(plane: Plane, version: str, **change: Any) -> AsyncIterator[Running]:
    async with running_api(plane, version, **change) as running:
        await eventually(running.is_ready)
        yield running


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; fail when it never does."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await holds():  # noqa: ASYNC110 - what is waited for tells no event
            await asyncio.sleep(0.01)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)
