"""Runs inside a pod: the real operator as a child process behind a fault proxy, and an HTTP control for tests.

The child is the operator's own command, started anew at once whenever it ends. Only what it is told by its
environment differs from an ordinary start: its kubeconfig names the proxy. What it is to be killed at, and what
else befalls it, comes as `harness.faults` through the control.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.apiproxy import FaultProxy, Signal, Upstream
from harness.faults import as_json, from_json

API_PORT = 6444
PROMETHEUS_PORT = 9091
CONTROL_PORT = 7070
#: Accepts connections and never says a word: where a Service is led whose server shall hang.
SILENT_PORT = 5433
TOKEN = Path("/var/run/rig/token")
CA = Path("/var/run/rig/ca.crt")
#: Where there is one, the child looks at its clock through it (jumping_clock.c).
CLOCK_LIBRARY = Path(__file__).with_name("jumping_clock.so")
CLOCK = Path(os.environ.get("TMPDIR", "/tmp")) / "jumping-clock"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "rig",
    "clusters": [{"name": "rig", "cluster": {"server": f"http://127.0.0.1:{API_PORT}"}}],
    "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
    "users": [{"name": "rig", "user": {}}],
}


@dataclass
class Death:
    """How one life of the child ended. `killed_at` is empty where nobody killed it: then it died of itself."""

    client: int
    at: float
    exit_code: int
    killed_at: str


@dataclass
class Child:
    """The operator: lives until it is killed, and is started anew for as long as it is wanted."""

    command: tuple[str, ...]
    environment: dict[str, str]
    lives: int = 0
    deaths: list[Death] = field(default_factory=list)
    wanted: bool = True

    def __post_init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._killed_at = ""
        self._changed = asyncio.Event()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def supervise(self) -> None:
        """Keep it running; a child that cannot start is not tried faster than every second."""
        while True:
            while not self.wanted:
                self._changed.clear()
                await self._changed.wait()
            started = time.monotonic()
            self.lives += 1
            self._killed_at = ""
            self._process = await asyncio.create_subprocess_exec(*self.command, env=self.environment)
            code = await self._process.wait()
            self.deaths.append(Death(self.lives, time.time(), code, self._killed_at))
            if not self._killed_at:
                await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - started)))

    async def kill(self, why: str) -> None:
        """SIGKILL, and wait until it is dead."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._killed_at = why
        process.kill()
        await process.wait()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def want(self, wanted: bool) -> None:
        self.wanted = wanted
        self._changed.set()


class Rig:
    """The proxies, the child, and what tests may ask of them."""

    def __init__(self, child: Child, proxies: dict[str, FaultProxy]) -> None:
        self.child = child
        self.proxies = proxies

    async def signal(self, kind: Signal, point: str) -> None:
        if kind == "kill":
            await self.child.kill(point)
        else:
            self.child.send(signal.SIGSTOP)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/state", self._answering(self._state))
        app.router.add_post("/child/{deed}", self._answering(self._tell_child))
        app.router.add_get("/{proxy}/seen", self._answering(self._seen))
        app.router.add_post("/{proxy}/faults", self._answering(self._set_faults))
        app.router.add_post("/{proxy}/{deed}", self._answering(self._tell_proxy))
        return app

    def _answering(
        self, ask: Callable[[web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                return web.json_response(await ask(request))
            except (KeyError, TypeError, ValueError) as error:
                return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

        return answer

    async def _state(self, _: web.Request) -> dict[str, Any]:
        return {
            "running": self.child.running,
            "wanted": self.child.wanted,
            "lives": self.child.lives,
            "deaths": [asdict(death) for death in self.child.deaths],
            "proxies": {
                name: {
                    "seen": len(proxy.seen),
                    "watches": proxy.watches(),
                    "requests": dict(proxy.requests),
                    "faults": [as_json(fault) for fault in proxy.faults],
                }
                for name, proxy in self.proxies.items()
            },
        }

    async def _tell_child(self, request: web.Request) -> dict[str, Any]:
        deed = request.match_info["deed"]
        if deed == "restart":
            await self.child.kill("restart")
        elif deed == "end":
            self.child.want(False)
            await self.child.kill("end")
        elif deed == "start":
            self.child.want(True)
        elif deed == "jump":
            # As a whole, so that nobody reads half a number.
            fresh = CLOCK.with_suffix(".new")
            fresh.write_text(f"{float(request.query['seconds']):+.0f}\n")
            fresh.replace(CLOCK)
        elif deed in ("stop", "cont", "term"):
            self.child.send(signal.Signals[f"SIG{deed.upper()}"])
        else:
            raise ValueError(f"the child knows restart, end, start, jump, stop, cont and term; not {deed}")
        return {"lives": self.child.lives}

    async def _seen(self, request: web.Request) -> list[dict[str, Any]]:
        since = int(request.query.get("from", "0"))
        return [asdict(item) for item in self.proxies[request.match_info["proxy"]].seen[since:]]

    async def _set_faults(self, request: web.Request) -> dict[str, Any]:
        proxy = self.proxies[request.match_info["proxy"]]
        proxy.faults[:] = [from_json(raw) for raw in await request.json()]
        return {"faults": len(proxy.faults)}

    async def _tell_proxy(self, request: web.Request) -> dict[str, Any]:
        proxy, deed = self.proxies[request.match_info["proxy"]], request.match_info["deed"]
        if deed == "begin":
            return {"number": proxy.begin()}
        if deed == "jump":
            proxy.ahead_seconds = float(request.query["seconds"])
            return {}
        if deed == "cut-watches":
            return {"watches": proxy.cut_watches()}
        if deed == "expire-watches":
            return {"watches": await proxy.expire_watches()}
        deeds = {
            "refuse": proxy.refuse,
            "hang": proxy.hang,
            "come-back": proxy.come_back,
            "release": proxy.release,
        }
        if deed not in deeds:
            raise ValueError(f"no deed {deed}")
        await deeds[deed]()
        return {}


async def serve(command: tuple[str, ...], prometheus_url: str) -> None:
    """Until SIGTERM."""
    kubeconfig = Path(os.environ.get("TMPDIR", "/tmp")) / "rig-kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG))
    ours = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": os.environ["OPERATOR_PYTHONPATH"]}
    if CLOCK_LIBRARY.exists():
        environment |= {"LD_PRELOAD": str(CLOCK_LIBRARY), "JUMPING_CLOCK": str(CLOCK)}
    child = Child(command, environment)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    proxies: dict[str, FaultProxy] = {}
    rig = Rig(child, proxies)
    proxies["api"] = FaultProxy(
        Upstream(f"https://{host}:{port}", CA, TOKEN), rig.signal, client=lambda: child.lives
    )
    proxies["prometheus"] = FaultProxy(Upstream(prometheus_url), rig.signal)
    await proxies["api"].open("127.0.0.1", API_PORT)
    await proxies["prometheus"].open("0.0.0.0", PROMETHEUS_PORT)
    control = web.AppRunner(rig.application(), access_log=None)
    await control.setup()
    await web.TCPSite(control, "0.0.0.0", CONTROL_PORT).start()
    silent = await asyncio.start_server(_say_nothing, "0.0.0.0", SILENT_PORT)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    supervising = asyncio.create_task(child.supervise())
    await ending.wait()
    supervising.cancel()
    await child.kill("end of the rig")
    silent.close()
    for proxy in proxies.values():
        await proxy.close()
    await control.cleanup()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        continue
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(tuple(sys.argv[1:]), os.environ["PROMETHEUS_URL"]))
