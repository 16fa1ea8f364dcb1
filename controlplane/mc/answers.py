"""How the API answers: JSON bodies, errors that name the mend, and what every answer carries."""

import json
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from aiohttp import web

from mc.database import DatabaseUnavailableError
from mc.drain import Connections, Drain
from mc.executions import InputError
from mc.metrics import ApiMetrics
from mc.query import QueryError
from mc.traffic import ServingColour

log = logging.getLogger(__name__)

_OWN_PATHS = frozenset({"/metrics", "/healthz", "/readyz", "/-/drain"})


def json_answer(body: object, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")


def refusal(status: int, *, message: str, mend: str, **more: object) -> web.Response:
    return json_answer({"error": {"message": message, "mend": mend, **more}}, status)


def answer_to(error: Exception) -> web.Response:
    """The answer to whatever a handler raised."""
    match error:
        case InputError():
            return refusal(400, message=str(error), mend=error.mend, field=error.field, value=error.value)
        case QueryError():
            return refusal(
                400, message=f"query, {error}", mend=error.mend, field="query", position=error.position
            )
        case DatabaseUnavailableError():
            answer = refusal(503, message=str(error), mend="try again in a moment")
            answer.headers["Retry-After"] = "1"
            return answer
        case web.HTTPException():
            answer = refusal(error.status, message=error.reason, mend="see the paths and methods of the API")
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        case _:
            log.error("request failed", exc_info=error)
            return refusal(
                500, message="the request failed here", mend="report it with the time at which it happened"
            )


class Envelope:
    """The middleware around every request: counts it, measures it, and signs the answer."""

    def __init__(
        self,
        *,
        version: str,
        colour: str | None,
        connections: Connections,
        drain: Drain,
        serving: ServingColour,
        metrics: ApiMetrics,
    ) -> None:
        self._headers = {"X-Mc-Version": version} | ({"X-Mc-Colour": colour} if colour else {})
        self._connections = connections
        self._drain = drain
        self._serving = serving
        self._metrics = metrics

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def envelope(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            started_at = monotonic()
            from_user = request.path not in _OWN_PATHS
            self._connections.begin(request.protocol, from_user=from_user)
            try:
                answer = await _answer(request, handler)
            finally:
                self._connections.end(request.protocol)
            answer.headers.update(self._headers)
            if self._drain.active or self._serving.elsewhere:
                answer.force_close()
            self._metrics.answered(request.method, _route(request), answer.status, monotonic() - started_at)
            return answer

        return envelope


async def _answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, the user gets an answer
        return answer_to(error)


def _route(request: web.Request) -> str:
    """The path as it was routed: ids in it would make a series of each."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
