"""The worker: claims queued executions, ends those that have run, and measures how long each waited."""

import asyncio
import logging
import signal
from datetime import timedelta

from aiohttp import web

from mc import metrics
from mc.database import Attempt, Database, DatabaseUnavailableError
from mc.edition import Edition
from mc.probes import Probes
from mc.settings import Settings
from mc.store import Store

log = logging.getLogger(__name__)

# Together they bound what a queue of any length costs the database: 200 executions a second.
_BATCH = 50
_PAUSE_SECONDS = 0.25
_RUNS_FOR = timedelta(seconds=0.5)
_QUEUE_COUNTED_TO = 10_000
_PASSES_BETWEEN_COUNTS = 20
_POOL_SIZE = 2


class Worker:
    def __init__(self, settings: Settings, edition: Edition) -> None:
        self._settings = settings
        self._store = Store(edition.shape)
        self._database = Database(
            settings.database_url,
            name=f"mc-worker {edition.version} {settings.colour or ''}".strip(),
            shape=edition.shape,
            pool_size=_POOL_SIZE,
            deadline_seconds=settings.deadline_seconds,
        )
        self._registry = metrics.new_registry(
            component="worker", version=edition.version, colour=settings.colour
        )
        self._metrics = metrics.WorkerMetrics(self._registry)
        self._stopping = asyncio.Event()
        self.claimed = 0
        application = web.Application()
        application.add_routes(Probes(self._database, self._registry).routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def start(self) -> int:
        """Open the port for probes and metrics, and tell it."""
        self._database.start()
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host or None, self._settings.port).start()
        port: int = self._runner.addresses[0][1]
        log.info("working, metrics on port %d", port)
        return port

    def stop(self) -> None:
        """End after the pass that is under way: a claim is committed or was never made."""
        self._stopping.set()

    async def work(self) -> None:
        """Pass over the queue until stopped."""
        number = 0
        while not self._stopping.is_set():
            count = number % _PASSES_BETWEEN_COUNTS == 0
            number += 1
            try:
                await self._database.run(self._pass_over_queue)
                if count:
                    await self._database.run(self._count)
                self._metrics.passes.labels("done").inc()
            except DatabaseUnavailableError as error:
                self._metrics.passes.labels("database-unavailable").inc()
                log.warning("pass over the queue failed: %s", error)
            await self._pause()
        await self._runner.cleanup()
        await self._database.close()
        log.info("stopped after %d passes", number)

    async def _pass_over_queue(self, attempt: Attempt) -> None:
        for waited_seconds in await self._store.claim(attempt.connection, _BATCH):
            self.claimed += 1
            self._metrics.queue_wait.observe(waited_seconds)
            self._metrics.publish_start.observe(waited_seconds)
        for ran_seconds in await self._store.finish(attempt.connection, _BATCH, _RUNS_FOR):
            self._metrics.run.observe(ran_seconds)

    async def _count(self, attempt: Attempt) -> None:
        self._metrics.queue_length.set(await self._store.queue_length(attempt.connection, _QUEUE_COUNTED_TO))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_PAUSE_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return


async def serve(settings: Settings, edition: Edition) -> None:
    """Work until told to stop."""
    worker = Worker(settings, edition)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.start()
    await worker.work()
