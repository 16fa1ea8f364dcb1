"""The HTTP API: its routes, and the life of the process that serves them."""

import asyncio
import logging
import signal
from dataclasses import replace

from aiohttp import web

from mc import metrics
from mc.answers import Envelope, json_answer, refusal
from mc.database import Attempt, Database
from mc.drain import Connections, Drain
from mc.edition import Edition
from mc.executions import Execution, InputError, Publication, check_text, parse_id
from mc.probes import Probes
from mc.query import DEFAULT_LIMIT, MAX_LIMIT, Condition, Operator, Query, parse
from mc.settings import Settings
from mc.store import Published, Started, Store
from mc.traffic import ServingColour

log = logging.getLogger(__name__)

_LARGEST_BODY = 64 * 1024
_BACKLOG = 1024


class Api:
    def __init__(self, settings: Settings, edition: Edition) -> None:
        self._settings = settings
        self._edition = edition
        self._store = Store(edition.shape)
        self._database = Database(
            settings.database_url,
            name=f"mc-api {edition.version} {settings.colour or ''}".strip(),
            shape=edition.shape,
            pool_size=settings.pool_size,
            deadline_seconds=settings.deadline_seconds,
        )
        self._registry = metrics.new_registry(
            component="api", version=edition.version, colour=settings.colour
        )
        self._metrics = metrics.ApiMetrics(self._registry)
        self._serving = ServingColour(settings.colour, settings.traffic_file)
        clock = asyncio.get_running_loop().time
        self._connections = Connections(self._open_connections, clock)
        self.drain = Drain(
            self._connections,
            idle_limit_seconds=settings.drain_idle_seconds,
            quiet_seconds=settings.drain_quiet_seconds,
            clock=clock,
        )
        self._metrics.connections.set_function(lambda: float(len(self._open_connections())))
        self._metrics.draining.set_function(lambda: float(self.drain.active))
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=settings.deadline_seconds
        )
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Serve, and tell the port: readiness follows when the database is there."""
        self._serving.look()
        self._looking = asyncio.create_task(self._serving.keep_looking())
        self._database.start()
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host or None, self._settings.port, backlog=_BACKLOG)
        await site.start()
        port: int = self._runner.addresses[0][1]
        log.info("serving on port %d", port)
        return port

    async def stop(self) -> None:
        """Stop listening, finish what is in flight, and let go of the database."""
        await self._runner.cleanup()
        if self._looking is not None:
            self._looking.cancel()
        await self._database.close()

    def _open_connections(self) -> list[web.RequestHandler]:
        server = self._runner.server
        return server.connections if server is not None else []

    def _application(self) -> web.Application:
        envelope = Envelope(
            version=self._edition.version,
            colour=self._settings.colour,
            connections=self._connections,
            drain=self.drain,
            serving=self._serving,
            metrics=self._metrics,
        )
        around = self._edition.wrapper()
        application = web.Application(middlewares=[envelope.middleware()], client_max_size=_LARGEST_BODY)
        application.add_routes(
            [
                *Probes(self._database, self._registry).routes(),
                web.post("/executions", around(self._publish)),
                web.get("/executions", around(self._find), allow_head=False),
                web.get("/executions/{id}", around(self._get), allow_head=False),
                web.post("/executions/{id}/start", around(self._start_execution)),
                web.get("/-/drain", self._drain, allow_head=False),
            ]
        )
        return application

    async def _publish(self, request: web.Request) -> web.Response:
        publication = Publication.parse(await request.read())

        async def publish(attempt: Attempt) -> Published:
            published = await self._store.publish(attempt.connection, publication)
            # The first attempt may have been committed and only its answer lost: then it was this request.
            lost_answer = published is Published.REPEATED and attempt.number > 1
            return Published.CREATED if lost_answer else published

        published = await self._database.run(publish)
        if published is Published.TAKEN:
            return refusal(
                409,
                message=f"id {publication.id} belongs to an execution with another content",
                mend="publish under a new id",
                field="id",
            )
        return json_answer({"id": str(publication.id)}, 201 if published is Published.CREATED else 200)

    async def _get(self, request: web.Request) -> web.Response:
        execution_id = parse_id(request.match_info["id"])

        async def get(attempt: Attempt) -> Execution | None:
            return await self._store.get(attempt.connection, execution_id)

        execution = await self._database.run(get)
        return json_answer(execution.as_json()) if execution is not None else _not_found(request)

    async def _find(self, request: web.Request) -> web.Response:
        query = _query(request)

        async def find(attempt: Attempt) -> list[Execution]:
            return await self._store.find(attempt.connection, query)

        found = await self._database.run(find)
        return json_answer({"executions": [execution.as_json() for execution in found], "count": len(found)})

    async def _start_execution(self, request: web.Request) -> web.Response:
        execution_id = parse_id(request.match_info["id"])

        async def start(attempt: Attempt) -> Started | None:
            return await self._store.start(attempt.connection, execution_id)

        started = await self._database.run(start)
        if started is None:
            return _not_found(request)
        if started.denied:
            return refusal(
                409, message=f"execution {execution_id} is denied", mend="publish it anew without deny"
            )
        if started.waited_seconds is not None:
            self._metrics.publish_start.observe(started.waited_seconds)
        return json_answer({"id": str(execution_id), "state": started.state})

    async def _drain(self, request: web.Request) -> web.Response:
        text = request.query.get("seconds")
        try:
            seconds = self._settings.drain_seconds if text is None else float(text)
        except ValueError:
            raise InputError("seconds", text, "give a number of seconds") from None
        if not 0 <= seconds <= 3600:
            raise InputError("seconds", text, "give a number of seconds from 0 to 3600")
        drained = await self.drain.run(seconds)
        return json_answer({"left": drained.left, "seconds": round(drained.seconds, 3)})


def _query(request: web.Request) -> Query:
    query = parse(request.query.get("query") or "FIND executions")
    tenant = request.query.get("tenant")
    if tenant is not None:
        check_text("tenant", tenant)
        only_tenant = Condition("tenant", Operator.EQUAL, tenant)
        query = replace(query, conditions=(only_tenant, *query.conditions))
    limit = request.query.get("limit")
    if limit is None:
        return query
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= MAX_LIMIT and len(limit) < 6):
        raise InputError("limit", limit, f"give a count from 1 to {MAX_LIMIT}, like {DEFAULT_LIMIT}")
    return replace(query, limit=min(query.limit or MAX_LIMIT, int(limit)))


def _not_found(request: web.Request) -> web.Response:
    return refusal(
        404,
        message=f"no execution has the id {request.match_info['id']}",
        mend="publish it first",
        field="id",
    )


async def serve(settings: Settings, edition: Edition) -> None:
    """Serve until told to stop; then send the clients away, unless the preStop hook has done so."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = Api(settings, edition)
    await api.start()
    await stop.wait()
    log.info("told to stop")
    if not api.drain.done:
        await api.drain.run(settings.drain_seconds)
    await api.stop()
