"""What the kubelet and Prometheus ask of either component."""

from aiohttp import web
from prometheus_client import CollectorRegistry

from mc import metrics
from mc.answers import json_answer, refusal
from mc.database import Database

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class Probes:
    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._scrape),
        ]

    async def _healthz(self, _request: web.Request) -> web.Response:
        return json_answer({"status": "alive"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        unready = self._database.unready()
        if unready is not None:
            return refusal(503, message=f"not ready: {unready}", mend="look at the database and its Secret")
        return json_answer({"status": "ready"})

    async def _scrape(self, _request: web.Request) -> web.Response:
        answer = web.Response(body=metrics.exposition(self._registry))
        answer.headers["Content-Type"] = metrics.CONTENT_TYPE
        return answer
