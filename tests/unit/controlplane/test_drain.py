"""Drains: clients that keep asking lose no request, and the server waits no longer than it has to."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web
from tests.unit.controlplane.conftest import WAIT_SECONDS, Plane, ready_api, run, settings_for

from mc.drain import Connections, Drain

REQUEST = b"GET /executions HTTP/1.1\r\nHost: mc\r\n\r\n"


@dataclass
class Client:
    """Keeps one connection and asks on it until it is told to close; a reset or a lost answer is an exception."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes = REQUEST) -> bool:
        """One request and its whole answer; tells whether the connection is to be kept."""
        self.writer.write(request)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await self.reader.readexactly(length)
        return b"\r\nConnection: close" not in head

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@dataclass
class Ground:
    """A server with nothing in it but what a drain looks at."""

    drain: Drain
    connections: Connections
    port: int


@asynccontextmanager
async def ground(*, idle_limit_seconds: float = 60, handler_seconds: float = 0) -> AsyncIterator[Ground]:
    clock = asyncio.get_running_loop().time

    async def handle(request: web.BaseRequest) -> web.Response:
        connections.begin(request.protocol, from_user=request.path == "/executions")
        await asyncio.sleep(handler_seconds)
        connections.end(request.protocol)
        answer = web.Response(text="here")
        if drain.active:
            answer.force_close()
        return answer

    server = web.Server(handle)
    connections = Connections(lambda: server.connections, clock)
    drain = Drain(connections, idle_limit_seconds=idle_limit_seconds, quiet_seconds=0.1, clock=clock)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Ground(drain, connections, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _asks_until_told_to_close(
    port: int, think_seconds: float, kept: asyncio.Event | None = None
) -> int:
    """How often it asked; `kept` is set once an answer let it keep its connection."""
    client = await Client.connect(port)
    asked = 1
    while await client.ask():
        asked += 1
        if kept is not None:
            kept.set()
        await asyncio.sleep(random.uniform(0, think_seconds))
    await client.close()
    return asked


def test_clients_that_keep_asking_are_told_and_lose_nothing() -> None:
    async def scenario() -> None:
        async with ground(handler_seconds=0.002) as here:
            asking = [asyncio.create_task(_asks_until_told_to_close(here.port, 0.02)) for _ in range(50)]
            drained = await here.drain.run(WAIT_SECONDS)
            assert drained.left == 0
            assert drained.seconds < WAIT_SECONDS / 2
            assert sum(await asyncio.gather(*asking)) >= 50

    run(scenario())


def test_ends_at_once_when_it_is_quiet_though_probes_and_scrapes_go_on() -> None:
    async def scenario() -> None:
        async with ground() as here:
            scraper = await Client.connect(here.port)
            await scraper.ask(REQUEST.replace(b"/executions", b"/metrics"))

            async def probe() -> None:
                while True:
                    kubelet = await Client.connect(here.port)
                    try:
                        await kubelet.ask(REQUEST.replace(b"/executions", b"/readyz"))
                    finally:
                        # Also where it is cancelled while it waits for its answer.
                        await kubelet.close()
                    await asyncio.sleep(0.02)

            probing = asyncio.create_task(probe())
            drained = await here.drain.run(WAIT_SECONDS)
            probing.cancel()
            await asyncio.wait([probing])
            assert drained.left == 0
            assert 0.1 <= drained.seconds < 2
            await scraper.close()

    run(scenario())


def test_an_idle_client_is_waited_for_until_its_time_is_up() -> None:
    async def scenario() -> None:
        async with ground() as here:
            silent = await Client.connect(here.port)
            assert await silent.ask()
            drained = await here.drain.run(0.3)
            assert drained.left == 1
            assert 0.3 <= drained.seconds < 2
            assert not await silent.ask()
            await silent.close()

    run(scenario())


def test_an_idle_client_past_the_limit_is_closed() -> None:
    async def scenario() -> None:
        async with ground(idle_limit_seconds=0.2) as here:
            silent = await Client.connect(here.port)
            assert await silent.ask()
            assert (await here.drain.run(WAIT_SECONDS)).left == 0
            assert await silent.reader.read() == b""
            await silent.close()

    run(scenario())


def test_connections_that_have_ended_are_forgotten() -> None:
    class Ended:
        def force_close(self) -> None:
            raise AssertionError("it has ended")

    connections = Connections(list, lambda: 0.0)
    for _ in range(10_000):
        ended = Ended()
        connections.begin(ended, from_user=True)
        connections.end(ended)
    assert len(connections) <= 256


def test_a_drain_that_no_stop_follows_is_over_after_a_while() -> None:
    async def scenario() -> None:
        now = 0.0
        drain = Drain(
            Connections(list, lambda: now), idle_limit_seconds=1, quiet_seconds=0, clock=lambda: now
        )
        await drain.run(0)
        assert (drain.done, drain.active) == (True, True)
        now = 61.0
        assert (drain.done, drain.active) == (False, False)

    run(scenario())


def test_the_endpoint_drains_and_every_answer_closes_from_then_on(plane: Plane) -> None:
    async def scenario() -> None:
        async with ready_api(plane, "1.0.0") as mc:
            client = await Client.connect(mc.port)
            assert await client.ask()
            status, answer = await mc.get("/-/drain", seconds="0.1")
            assert (status, answer["left"]) == (200, 1)
            assert not await client.ask()
            await client.close()

    run(scenario())


@pytest.mark.parametrize("version", ["1.0.0"])
def test_sigterm_alone_drains_as_well(plane: Plane, version: str) -> None:
    """The whole process, under clients, stopped without its preStop hook."""

    async def scenario() -> None:
        port_taker = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = port_taker.sockets[0].getsockname()[1]
        port_taker.close()
        await port_taker.wait_closed()
        environment = {
            "DATABASE_URL": settings_for(plane).database_url,
            "MC_HOST": "127.0.0.1",
            "MC_PORT": str(port),
            "MC_VERSION": version,
            "MC_DRAIN_QUIET_SECONDS": "0.2",
            "PYTHONPATH": ":".join(sys.path),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mc", "api", env=environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while b"the database is there" not in await process.stdout.readline():
                assert process.returncode is None
        kept = asyncio.Event()
        asking = [asyncio.create_task(_asks_until_told_to_close(port, 0.05, kept)) for _ in range(20)]
        async with asyncio.timeout(WAIT_SECONDS):
            await kept.wait()
        process.send_signal(signal.SIGTERM)
        assert sum(await asyncio.gather(*asking)) > 20
        async with asyncio.timeout(WAIT_SECONDS):
            output, _ = await process.communicate()
        assert process.returncode == 0
        assert b"0 client connections left" in output

    run(scenario())
