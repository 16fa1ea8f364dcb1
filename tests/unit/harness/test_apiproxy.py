"""The fault proxy against a real HTTPS server on the loopback: what passes, what does not, and who learns of it."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from harness.apiproxy import FaultProxy, Upstream
from harness.faults import Fault, from_json

PATIENCE_SECONDS = 10.0
PODS = "/api/v1/namespaces/prod/pods"
TOKEN = "renewed by kubelet"


@dataclass
class Server:
    """A small API server: notes every request, answers 201 to writes or what `refusals` holds, streams watches."""

    requests: list[tuple[str, str, str]] = field(default_factory=list)
    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    refusals: list[int] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, request.headers.get("Authorization", "")))
        if "watch" not in request.query:
            status = 200 if request.method == "GET" else self.refusals.pop(0) if self.refusals else 201
            return web.json_response({"body": await request.text()}, status=status)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(await self.events.get())

    def writes(self) -> list[str]:
        return [method for method, _, _ in self.requests if method != "GET"]


@dataclass
class Bench:
    """A client, the proxy and the server, and whom the proxy killed."""

    server: Server
    proxy: FaultProxy
    client: aiohttp.ClientSession
    signals: list[tuple[str, str]]

    async def send(self, method: str, path: str = PODS, body: Any = None) -> int:
        """The status of the answer; 0 where none came."""
        try:
            async with self.client.request(method, self.url(path), json=body) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def create(self, name: str) -> int:
        """Not another method: aiohttp itself sends an idempotent request again whose connection was cut."""
        return await self.send("POST", PODS, {"metadata": {"name": name}})

    def url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.proxy.port}{path}", encoded=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, made


@pytest.fixture
def play(
    certificate: tuple[Path, Path], tmp_path: Path
) -> Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], None]:
    """Runs a story on a bench of its own."""
    key, made = certificate
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")

    def run(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS), bench(key, made, token) as made_bench:
                await story(made_bench)

        asyncio.run(main())

    return run


@asynccontextmanager
async def bench(key: Path, certificate: Path, token: Path) -> AsyncIterator[Bench]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    signals: list[tuple[str, str]] = []

    async def signal(kind: str, point: str) -> None:
        signals.append((kind, point))

    proxy = FaultProxy(Upstream(server.url, certificate, token), signal)
    await proxy.open("127.0.0.1")
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as client:
            yield Bench(server, proxy, client, signals)
    finally:
        await proxy.close()
        await runner.cleanup()


Play = Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], None]


def test_requests_pass_as_they_are_with_the_token_of_the_rig(play: Play) -> None:
    async def story(bench: Bench) -> None:
        path = f"{PODS}?labelSelector=a%3Db%2Cc&limit=5"
        assert await bench.send("GET", path) == 200
        assert await bench.create("one") == 201
        assert bench.server.requests == [
            ("GET", path, f"Bearer {TOKEN}"),
            ("POST", PODS, f"Bearer {TOKEN}"),
        ]
        (seen,) = bench.proxy.seen
        assert (seen.point, seen.status, seen.fault) == ("create Pod/one", 201, "")
        assert bench.proxy.requests == {"read": 1, "write": 1}

    play(story)


@pytest.mark.parametrize(("side", "reached"), [("before", []), ("after", ["POST"])])
def test_a_kill_comes_before_or_after_the_server_knows(play: Play, side: str, reached: list[str]) -> None:
    async def story(bench: Bench) -> None:
        bench.proxy.faults.append(from_json({"do": "kill", "on": "write", "side": side}))
        assert await bench.send("GET") == 200
        assert await bench.create("one") == 0
        assert bench.signals == [("kill", "create Pod/one")]
        assert bench.server.writes() == reached
        assert bench.proxy.seen[0].fault == f"kill {side}"
        assert await bench.create("one") == 201

    play(story)


def test_the_second_of_a_name_is_a_point_of_its_own(play: Play) -> None:
    async def story(bench: Bench) -> None:
        bench.proxy.faults.append(Fault("kill", on="write", points=("create Pod/one #2",)))
        assert [await bench.create("one") for _ in range(3)] == [201, 0, 201]
        assert bench.proxy.begin() == 3
        assert await bench.create("one") == 201
        points = [item.point for item in bench.proxy.seen]
        assert points == ["create Pod/one", "create Pod/one #2", "create Pod/one #2", "create Pod/one"]

    play(story)


def test_a_refused_write_is_killed_before_but_not_after_it(play: Play) -> None:
    """After it there is nothing that only the server knows; the try that is accepted is the same point."""

    async def story(bench: Bench) -> None:
        bench.server.refusals.append(409)
        bench.proxy.faults.append(Fault("kill", on="write", side="after", points=("create Pod/one",)))
        assert [await bench.create("one") for _ in range(3)] == [409, 0, 201]
        points = [item.point for item in bench.proxy.seen]
        assert points == ["create Pod/one", "create Pod/one", "create Pod/one #2"]

    play(story)


def test_a_storm_kills_once_at_every_name(play: Play) -> None:
    async def story(bench: Bench) -> None:
        bench.proxy.faults.append(Fault("kill", on="write", side="after", times=0, each_once=True))
        sent = [await bench.create(name) for name in ("one", "one", "two", "one", "two")]
        assert sent == [0, 201, 0, 201, 201]

    play(story)


def test_the_first_writes_can_meet_conflicts_that_the_server_never_saw(play: Play) -> None:
    async def story(bench: Bench) -> None:
        bench.proxy.faults.append(
            Fault("answer", on="write", status=409, body='{"reason":"Conflict"}', times=2)
        )
        assert [await bench.send("POST") for _ in range(3)] == [409, 409, 201]
        assert bench.server.writes() == ["POST"]

    play(story)


def test_an_answer_can_be_late_or_lost(play: Play) -> None:
    async def story(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.proxy.faults += [
            Fault("delay", on="read", seconds=0.3),
            Fault("drop", on="write", side="after"),
            Fault("stop", on="read", path="services$"),
        ]
        started = loop.time()
        assert await bench.send("GET") == 200
        assert loop.time() - started >= 0.3
        assert await bench.send("POST") == 0
        assert bench.server.writes() == ["POST"]
        assert await bench.send("GET", "/api/v1/namespaces/prod/services") == 200
        assert bench.signals == [("stop", "")]

    play(story)


def test_a_server_that_refuses_and_comes_back(play: Play) -> None:
    async def story(bench: Bench) -> None:
        assert await bench.send("GET") == 200
        await bench.proxy.refuse()
        assert await bench.send("GET") == 0
        await bench.proxy.come_back()
        assert await bench.send("GET") == 200

    play(story)


def test_a_server_that_hangs_has_done_what_it_was_asked_before(play: Play) -> None:
    async def story(bench: Bench) -> None:
        await bench.proxy.hang()
        pending = asyncio.create_task(bench.send("POST"))
        done, _ = await asyncio.wait([pending], timeout=0.3)
        assert not done
        assert bench.server.writes() == []
        await bench.proxy.come_back()
        assert await pending == 201

    play(story)


def test_watches_stream_are_cut_and_expire(play: Play) -> None:
    async def story(bench: Bench) -> None:
        watch = f"{PODS}?watch=true"
        async with bench.client.get(bench.url(watch)) as stream:
            await bench.server.events.put(b'{"type":"ADDED"}\n')
            assert await stream.content.readline() == b'{"type":"ADDED"}\n'
            assert bench.proxy.cut_watches() == 1
            with pytest.raises(aiohttp.ClientError):
                await stream.content.readline()
        async with bench.client.get(bench.url(watch)) as stream:
            assert await bench.proxy.expire_watches() == 1
            told = json.loads(await stream.content.readline())
            assert (told["type"], told["object"]["code"]) == ("ERROR", 410)

    play(story)


def test_a_server_that_is_not_there_is_a_bad_gateway(play: Play) -> None:
    async def story(bench: Bench) -> None:
        bench.proxy.upstream = Upstream("http://127.0.0.1:1")
        assert await bench.send("GET") == 502

    play(story)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({"do": "explode"}, ValueError),
        ({"do": "kill", "on": "sunday"}, ValueError),
        ({"do": "kill", "at": 3}, TypeError),
    ],
)
def test_a_fault_that_nobody_knows_is_refused(raw: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_json(raw)


def test_the_servers_clock_can_be_told_otherwise(play: Play) -> None:
    async def story(bench: Bench) -> None:
        async def date() -> datetime:
            async with bench.client.get(bench.url(PODS)) as answer:
                return parsedate_to_datetime(answer.headers["Date"])

        before = await date()
        bench.proxy.ahead_seconds = -300
        assert timedelta(seconds=-301) <= await date() - before <= timedelta(seconds=-290)
        bench.proxy.ahead_seconds = 0
        assert await date() >= before

    play(story)
