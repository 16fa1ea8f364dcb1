"""The worker over a real database: what it starts, what it leaves alone, and that it ends when told to."""

import asyncio
import re

import aiohttp
import pytest
from tests.unit.controlplane.conftest import Plane, eventually, run, settings_for

from mc.edition import edition_of
from mc.worker import Worker

INSERT = """
INSERT INTO executions (id, tenant, name, denied, {columns})
SELECT gen_random_uuid(), 'acme', 'n', {denied}, {owner} FROM generate_series(1, {count}) RETURNING 1
"""


def _publish(plane: Plane, version: str, count: int, *, denied: bool = False) -> None:
    columns, owner = ("owner", "'A <a@b>'")
    if version != "1.0.0":
        columns, owner = ("owner_name, owner_email", "'A', 'a@b'")
    plane.value(INSERT.format(columns=columns, denied=denied, owner=owner, count=count))


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_starts_and_ends_what_is_queued_and_nothing_denied(plane: Plane, version: str) -> None:
    async def scenario() -> None:
        if version != "1.0.0":
            plane.step("1.1.0", "expand")
        _publish(plane, version, 20, denied=True)
        _publish(plane, version, 100)
        worker = Worker(settings_for(plane), edition_of(version))
        port = await worker.start()
        working = asyncio.create_task(worker.work())

        async def all_ended() -> bool:
            return bool(plane.value("SELECT count(*) = 100 FROM executions WHERE state = 'finished'"))

        await eventually(all_ended)
        assert plane.value("SELECT count(*) FROM executions WHERE denied AND state = 'queued'") == 20
        assert plane.value(
            "SELECT bool_and(created_at <= started_at AND started_at <= finished_at) "
            "FROM executions WHERE NOT denied"
        )
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            text = await answer.text()
        for name in ("mc_publish_start_seconds", "mc_queue_seconds", "mc_run_seconds"):
            assert re.search(rf"^{name}_count 100\.0$", text, re.MULTILINE), name
        worker.stop()
        await asyncio.wait_for(working, 5)

    run(scenario())


def test_two_workers_start_each_execution_once(plane: Plane) -> None:
    async def scenario() -> None:
        _publish(plane, "1.0.0", 100)
        workers = [Worker(settings_for(plane), edition_of("1.0.0")) for _ in range(2)]
        for worker in workers:
            await worker.start()
        working = [asyncio.create_task(worker.work()) for worker in workers]

        async def none_queued() -> bool:
            return bool(plane.value("SELECT count(*) = 0 FROM executions WHERE state = 'queued'"))

        await eventually(none_queued)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*working)
        assert sum(worker.claimed for worker in workers) == 100

    run(scenario())


def test_goes_on_after_its_connections_were_ended(plane: Plane) -> None:
    async def scenario() -> None:
        worker = Worker(settings_for(plane), edition_of("1.0.0"))
        await worker.start()
        working = asyncio.create_task(worker.work())

        async def is_connected() -> bool:
            return plane.end_connections() >= 1

        await eventually(is_connected)
        _publish(plane, "1.0.0", 1)

        async def started() -> bool:
            return bool(plane.value("SELECT count(*) = 0 FROM executions WHERE state = 'queued'"))

        await eventually(started)
        worker.stop()
        await asyncio.wait_for(working, 5)

    run(scenario())
