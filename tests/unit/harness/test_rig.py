"""The rig's child and control: a real process, killed and started anew, and every death told."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from harness import rig as rig_module
from harness.apiproxy import FaultProxy, Upstream
from harness.faults import Fault, as_json
from harness.rig import Child, Rig
from harness.rig_pod import rig_pod

PATIENCE_SECONDS = 20.0
WAITS = (sys.executable, "-c", "import signal; signal.pause()")
FAILS = (sys.executable, "-c", "raise SystemExit(3)")


async def until(holds: Callable[[], bool]) -> None:
    pause = asyncio.Event()
    while not holds():
        with suppress(TimeoutError):
            await asyncio.wait_for(pause.wait(), 0.01)


def play(command: tuple[str, ...], story: Callable[[Child], Awaitable[None]]) -> None:
    async def main() -> None:
        child = Child(command, dict(os.environ))
        supervising = asyncio.create_task(child.supervise())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await story(child)
        finally:
            supervising.cancel()
            await child.kill("the end")

    asyncio.run(main())


def test_a_killed_child_is_started_anew_and_its_death_has_a_reason() -> None:
    async def story(child: Child) -> None:
        await until(lambda: child.running)
        await child.kill("create Job/x")
        await until(lambda: child.running and child.lives == 2)
        (death,) = child.deaths
        assert (death.client, death.exit_code, death.killed_at) == (1, -9, "create Job/x")

    play(WAITS, story)


def test_a_child_that_dies_of_itself_is_told_from_a_killed_one() -> None:
    async def story(child: Child) -> None:
        await until(lambda: bool(child.deaths))
        assert (child.deaths[0].exit_code, child.deaths[0].killed_at) == (3, "")

    play(FAILS, story)


def test_the_clock_of_the_child_is_told_as_a_whole_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig_module, "CLOCK", tmp_path / "clock")

    async def story(child: Child) -> None:
        async with TestClient(TestServer(Rig(child, {}).application())) as client:
            for asked, told in (("300", "+300\n"), ("-300.0", "-300\n")):
                assert (await client.post("/child/jump", params={"seconds": asked})).status == 200
                assert (tmp_path / "clock").read_text() == told
            assert (await client.post("/child/jump")).status == 400

    play(WAITS, story)


def test_the_control_ends_starts_and_suspends_the_child_and_sets_faults() -> None:
    async def story(child: Child) -> None:
        rig = Rig(child, {})
        rig.proxies["api"] = FaultProxy(Upstream("http://127.0.0.1:1"), rig.signal)
        async with TestClient(TestServer(rig.application())) as client:
            await until(lambda: child.running)
            await client.post("/child/stop")
            await client.post("/child/end")
            await until(lambda: bool(child.deaths))
            state = await (await client.get("/state")).json()
            assert (state["wanted"], state["running"], state["lives"]) == (False, False, 1)
            await client.post("/child/start")
            await until(lambda: child.running and child.lives == 2)
            fault = Fault("kill", on="write", points=("create Job/x",))
            assert (await client.post("/api/faults", json=[as_json(fault)])).status == 200
            assert rig.proxies["api"].faults == [fault]
            assert (await client.post("/api/faults", json=[{"do": "explode"}])).status == 400
            assert (await client.post("/child/dance")).status == 400
            assert await (await client.get("/api/seen")).json() == []

    play(WAITS, story)


@pytest.mark.parametrize("key", ["serviceAccountName", "securityContext"])
def test_the_rig_keeps_what_the_chart_gave_the_operator(key: str) -> None:
    container = {
        "name": "operator",
        "args": ["run", "--port=8080"],
        "env": [],
        "volumeMounts": [],
        "livenessProbe": {},
    }
    spec = {
        "containers": [container],
        "volumes": [],
        "serviceAccountName": "rig",
        "securityContext": {"x": 1},
    }
    pod = rig_pod({"spec": spec}, "prod")
    assert pod["spec"][key] == spec[key]
    (made,) = pod["spec"]["containers"]
    assert made["command"][-5:] == ["-m", "conductor", "run", "--port=8080", "--identity=rig"]
    assert "livenessProbe" not in made
    assert pod["spec"]["automountServiceAccountToken"] is False
