"""The operator's own endpoints: /metrics, /livez (the loop's heartbeat), /readyz."""

import threading
from collections.abc import Callable, Iterable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from conductor.runtime.metrics import REGISTRY

_StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _Quiet(WSGIRequestHandler):
    """A handler that leaves the log to us."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """A scrape is not news."""


class _Server(WSGIServer):
    """Answers probes while a slow scrape is under way."""

    daemon_threads = True


def serve(port: int, alive: Callable[[], bool], ready: Callable[[], bool]) -> WSGIServer:
    """Serve on `port` in a thread of its own."""
    metrics_app = make_wsgi_app(REGISTRY)

    def app(environ: dict[str, object], start_response: _StartResponse) -> Iterable[bytes]:
        checks = {"/livez": alive, "/readyz": ready}
        check = checks.get(str(environ.get("PATH_INFO", "")))
        if check is None:
            answer: Iterable[bytes] = metrics_app(environ, start_response)
            return answer
        good = check()
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if good else b"not ok\n"]

    server = make_server("", port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
