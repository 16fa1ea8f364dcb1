"""Servers on this machine for tests of what leaves the operator; each is asked for real and says what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from conductor.adapters.outbound import Outbound

Serve = Callable[[socket.socket, threading.Event], None]


class ToThisMachine(Outbound):
    """Everything is as in the operator, but that the tests' own servers may be asked."""

    def refusal(self, text: str) -> str | None:
        return None if text == "127.0.0.1" else super().refusal(text)


@dataclass
class Asked:
    """A server's port, and every request that reached it, as text."""

    port: int
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def server(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[Asked]:
    """Accept connections, read each one's request, and let `serve` answer it."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = Asked(listening.getsockname()[1])

        def answer(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                talk = tls.wrap_socket(connection, server_side=True) if tls else connection
                with talk:
                    asked.requests.append(_request(talk))
                    serve(talk, over)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield asked
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join(5)


def _request(connection: socket.socket) -> str:
    """Head and body, however many packets they come in."""
    text = ""
    while "\r\n\r\n" not in text:
        text += connection.recv(65_536).decode()
    head, _, body = text.partition("\r\n\r\n")
    length = next((int(line[15:]) for line in head.splitlines() if line.startswith("Content-Length:")), 0)
    while len(body) < length:
        body += connection.recv(65_536).decode()
    return f"{head}\r\n\r\n{body}"


def says(body: str, status: str = "200 OK", headers: str = "") -> Serve:
    """A whole answer."""
    content = body.encode()

    def serve(connection: socket.socket, _: threading.Event) -> None:
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)

    return serve


def trickles(start: str) -> Serve:
    """An answer that begins like this and then goes on without end, a byte at a time."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start.encode())
        while not over.wait(0.02):
            connection.sendall(b"x")

    return serve
