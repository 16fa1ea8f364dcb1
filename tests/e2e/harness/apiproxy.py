"""A reverse proxy in front of an HTTP server, above all the API server: it sees every write and makes faults happen.

Plain HTTP towards its client, which runs on the same machine or in the same pod; TLS and a bearer token towards the
server. Watches are streamed. It runs inside the operator's own image and needs nothing but aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

from harness.faults import Fault, Side, first_fit
from harness.writes import Call, Namer, Write

Signal = Literal["kill", "stop"]
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "content-length",
    "host",
}
_CONNECT_SECONDS = 10.0
_EXPIRED = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version (made by the fault proxy)",
        "reason": "Expired",
        "code": 410,
    },
}


@dataclass(frozen=True)
class Upstream:
    """Where requests go. The token is read anew for every request, because kubelet renews it."""

    url: str
    ca: Path | None = None
    token: Path | None = None

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.read_text().strip()}"} if self.token else {}

    def tls(self) -> ssl.SSLContext | bool:
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else True


@dataclass
class Seen:
    """One write as it passed, or did not pass."""

    number: int
    at: float
    point: str
    label: str
    client: int
    status: int = 0
    fault: str = ""


@dataclass(frozen=True)
class _Exchange:
    request: web.Request
    call: Call
    write: Write | None
    point: str
    record: Seen | None

    def note(self, *, status: int | None = None, fault: str | None = None) -> None:
        if self.record is not None and status is not None:
            self.record.status = status
        if self.record is not None and fault is not None:
            self.record.fault = fault


@dataclass
class _Watch:
    request: web.Request
    response: web.StreamResponse
    live: bool = True


@dataclass
class FaultProxy:
    """Serves while it is open. `signal` is called with `kill` or `stop` when a fault says so, and with the point."""

    upstream: Upstream
    signal: Callable[[Signal, str], Awaitable[None]]
    client: Callable[[], int] = lambda: 0
    namer: Namer = field(default_factory=Namer)
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    #: Seconds by which the Date of every answer is ahead of what the server wrote.
    ahead_seconds: float = 0.0
    port: int = 0

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._watches: dict[int, _Watch] = {}
        self._begun: set[asyncio.Task[web.StreamResponse]] = set()
        self._back = asyncio.Event()
        self._back.set()
        self._released = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    # --- life

    async def open(self, host: str, port: int = 0) -> None:
        connector = aiohttp.TCPConnector(ssl=self.upstream.tls(), limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent", "Content-Type"),
        )  # fmt: skip
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A watch ends with its client; a write that was begun does not.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        self.port = port
        await self._listen(host)
        self._host = host

    async def _listen(self, host: str) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, host, self.port, reuse_address=True)
        await self._site.start()
        if not self.port:
            self.port = int(self._runner.addresses[0][1])

    async def release(self) -> None:
        """Let go of the request that a fault holds."""
        self._released.set()

    async def close(self) -> None:
        self._back.set()
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # --- faults of the whole server

    async def refuse(self) -> None:
        """The server is gone: connections are cut, new ones refused."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._cut_connections()

    async def hang(self) -> None:
        """The server accepts connections and requests, and answers none of them."""
        self._back.clear()
        self._mute_watches()

    async def come_back(self) -> None:
        self._back.set()
        if self._site is None:
            await self._listen(self._host)

    def cut_watches(self) -> int:
        """Close every watch without a word; answers how many there were."""
        watches = list(self._watches.values())
        for watch in watches:
            _abort(watch.request)
        return len(watches)

    async def expire_watches(self) -> int:
        """Tell every watch that its resourceVersion is too old (410), as after a compaction."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.live = False
            await watch.response.write(json.dumps(_EXPIRED).encode() + b"\n")
            await watch.response.write_eof()
            _abort(watch.request)
        return len(watches)

    def watches(self) -> int:
        return len(self._watches)

    def begin(self) -> int:
        """Count points anew from here; answers the number that the next write gets."""
        self._counts.clear()
        return len(self.seen)

    def _cut_connections(self) -> None:
        server = self._runner.server if self._runner else None
        for connection in list(server.connections) if server else []:
            if connection.transport is not None:
                connection.transport.abort()

    def _mute_watches(self) -> None:
        for watch in self._watches.values():
            watch.live = False

    # --- one request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        kind = request.headers.get("Content-Type", "")
        call = Call(request.method, request.path, dict(request.query), kind, await request.read())
        write = self.namer.name(call)
        point = self._point(write)
        self.requests["watch" if call.is_watch else "write" if call.is_write else "read"] += 1
        exchange = _Exchange(request, call, write, point, self._record(write, point))
        if call.is_watch:
            return await self._serve(exchange)
        task = asyncio.create_task(self._serve(exchange))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)

    async def _serve(self, exchange: _Exchange) -> web.StreamResponse:
        await self._back.wait()
        answer = await self._meet(exchange, "before")
        if answer is not None:
            return answer
        try:
            return await self._forward(exchange)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"the fault proxy cannot reach {self.upstream.url}: {error}")

    def _point(self, write: Write | None) -> str:
        if write is None:
            return ""
        if not write.counted:
            return write.label
        # Only what was accepted counts: a write that met a conflict or a kill is the same point when tried again.
        number = self._counts[write.label] + 1
        return write.label if number == 1 else f"{write.label} #{number}"

    def _record(self, write: Write | None, point: str) -> Seen | None:
        if write is None or write.renewal:
            return None
        record = Seen(len(self.seen), time.time(), point, write.label, self.client())
        self.seen.append(record)
        return record

    async def _meet(self, exchange: _Exchange, side: Side) -> web.StreamResponse | None:
        """What a fault makes of the request; None when it goes on as if nothing were."""
        fault = first_fit(self.faults, exchange.call, exchange.write, exchange.point, side)
        if fault is None:
            return None
        exchange.note(fault=f"{fault.do} {side}")
        if fault.do == "delay":
            await asyncio.sleep(fault.seconds)
            return None
        if fault.do in ("stop", "hold"):
            await self.signal("stop", exchange.point)
            if fault.do == "hold":
                self._released.clear()
                await self._released.wait()
            return None
        if fault.do == "answer":
            exchange.note(status=fault.status)
            return web.Response(status=fault.status, text=fault.body, content_type=fault.content_type)
        if fault.do == "kill":
            await self.signal("kill", exchange.point)
        _abort(exchange.request)
        return web.Response(status=502, text="nobody hears this")

    async def _forward(self, exchange: _Exchange) -> web.StreamResponse:
        assert self._session is not None
        request, call, write = exchange.request, exchange.call, exchange.write
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        headers |= self.upstream.headers()
        # Selectors arrive encoded and have to leave as they came.
        url = URL(self.upstream.url.rstrip("/") + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=call.body or None, allow_redirects=False
        ) as answer:
            if call.is_watch and answer.status == 200:
                return await self._stream(request, answer)
            content = await answer.read()
            status, told = answer.status, _kept(answer.headers) | self._date(answer.headers)
        exchange.note(status=status)
        accepted = write is not None and 200 <= status < 300
        if write is not None and accepted:
            self._counts[write.label] += 1
            self.namer.accepted(write)
        # A server that went away meanwhile has done what was asked, and cannot say so.
        await self._back.wait()
        # What was refused was not done: there is nothing that only the server knows.
        changed = await self._meet(exchange, "after") if accepted or write is None else None
        return changed if changed is not None else web.Response(status=status, headers=told, body=content)

    def _date(self, headers: Mapping[str, str]) -> dict[str, str]:
        written = headers.get("Date")
        if written is None or not self.ahead_seconds:
            return {}
        moved = parsedate_to_datetime(written) + timedelta(seconds=self.ahead_seconds)
        return {"Date": format_datetime(moved, usegmt=True)}

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
        await response.prepare(request)
        watch = _Watch(request, response)
        self._watches[id(watch)] = watch
        begun = b""
        try:
            async for chunk in answer.content.iter_any():
                if not watch.live:
                    await self._back.wait()
                    break
                # Whole lines only: a server whose watch ends, or expires, does not end it within an object.
                whole, newline, begun = (begun + chunk).rpartition(b"\n")
                if newline:
                    await response.write(whole + newline)
        except (aiohttp.ClientError, ConnectionError):
            # Either end may go at any time; the other one is told by the end of the stream.
            _abort(request)
        finally:
            del self._watches[id(watch)]
        return response


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _HOP_BY_HOP}


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
