"""How far a backfill has come, told to whoever asks over HTTP while it runs: numbers, and whose they are.

The operator asks the pod, because a Job's pod can tell nobody anything before its end without rights of its own.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from migrator.answer import log_line
from migrator.request import Request

PATH = "/progress"
_CONNECTION_SECONDS = 2.0


@dataclass
class Board:
    """What stands there now; thread-safe."""

    about: dict[str, Any]
    _told: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, request: Request) -> "Board":
        return cls({"verb": request.verb.value, "upgrade": request.upgrade, "attempt": request.attempt})

    def post(self, told: dict[str, Any]) -> None:
        with self._lock:
            self._told = dict(told)

    def content(self) -> bytes:
        with self._lock:
            return json.dumps({**self.about, **self._told}, separators=(",", ":")).encode()


@contextmanager
def shown(board: Board, port: int) -> Iterator[int]:
    """Answer GET /progress on `port` of all addresses meanwhile; 0: not at all. A port that cannot be had is said and
    never stops a migration. Yields the port."""
    server = _listen(board, port) if port else None
    if server is None:
        yield 0
        return
    thread = threading.Thread(target=server.serve_forever, name="progress", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(board: Board, port: int) -> Any:
    # Only here: most runs show nothing, and these take longer to import than many a step takes.
    import socket  # noqa: PLC0415
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415

    class Handler(BaseHTTPRequestHandler):
        timeout = _CONNECTION_SECONDS
        server_version, sys_version = "migrator", ""

        def do_GET(self) -> None:
            content = board.content() if self.path == PATH else b"{}"
            self.send_response(200 if self.path == PATH else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """The log is for the migration."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            # Not the base's own, which asks the resolver for this machine's name.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = "migrator", self.server_address[1]

        def handle_error(self, *_: object) -> None:
            """Whoever asked has gone; nobody else minds."""

    try:
        return Server(("", port), Handler)
    except OSError as error:
        log_line("warning", "progress is not shown", port=port, error=str(error.strerror))
        return None
