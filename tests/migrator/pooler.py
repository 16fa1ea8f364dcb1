"""Connection poolers in front of the test's PostgreSQL: PgBouncer itself, and a small one of our own that hides
better than PgBouncer does."""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from tests.migrator.server import PASSWORD, PASSWORD_IN_URL, free_port, unprivileged

_IDLE = b"I"
_TERMINATE = b"X"
_PATIENCE_SECONDS = 10.0


@contextmanager
def pgbouncer(server_port: int, mode: str) -> Iterator[int]:
    """PgBouncer in one of its modes; yields its port."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.fail("no pgbouncer found: install it (Debian: apt-get install pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder, port, user = Path(name), free_port(), unprivileged()
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={port}\nunix_socket_dir=\nauth_type=plain\nauth_file={folder}/users\npool_mode={mode}\n"
            "default_pool_size=5\n"
        )
        if user:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user)
        with (folder / "log").open("wb") as told:
            process = subprocess.Popen([program, folder / "ini"], user=user, stdout=told, stderr=told)
        try:
            _wait_for(port, process, folder / "log")
            yield port
        finally:
            process.kill()
            process.wait(timeout=_PATIENCE_SECONDS)


@dataclass
class Sharing:
    """Shares backends out between transactions and passes the servers' own process ids on.

    Each client brings a backend along, with which it has authenticated itself; from its first idle moment on that
    one belongs to all. Who needs a backend takes the one that was given back last.
    """

    server_port: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _idle: list[socket.socket] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)
    _free: threading.Condition = field(default_factory=threading.Condition)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self._open.append(client)
                threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def close(self) -> None:
        # A close alone would not wake up the thread that waits in accept.
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        for one in (self.listener, *self._open):
            one.close()

    def _attend(self, client: socket.socket) -> None:
        backend: socket.socket | None = socket.create_connection(("127.0.0.1", self.server_port))
        assert backend is not None
        self._open.append(backend)
        with suppress(OSError):
            first = _startup(client)
            if int.from_bytes(first[4:8], "big") in (80877103, 80877104):  # asks for TLS, or for GSS
                client.sendall(b"N")
                first = _startup(client)
            backend.sendall(first)
            while True:
                # The answer, to its end: either an idle server, or one that wants more of this client.
                while not _wants_more(answer := _message(backend)):
                    client.sendall(answer)
                if answer[:1] == b"Z" and answer[5:6] == _IDLE:
                    self._give_back(backend)
                    backend = None
                client.sendall(answer)
                message = _message(client)
                if message[:1] == _TERMINATE:
                    return
                backend = backend or self._take()
                backend.sendall(message)
                # Of the extended protocol several messages belong together, up to the Sync.
                while message[:1] in b"PBDECH":
                    message = _message(client)
                    backend.sendall(message)
        if backend is not None:
            self._give_back(backend)

    def _give_back(self, backend: socket.socket) -> None:
        with self._free:
            self._idle.append(backend)
            self._free.notify()

    def _take(self) -> socket.socket:
        with self._free:
            if not self._free.wait_for(lambda: self._idle, timeout=_PATIENCE_SECONDS):
                raise OSError("no backend became free")
            return self._idle.pop()


@contextmanager
def sharing_pooler(server_port: int) -> Iterator[int]:
    pooler = Sharing(server_port)
    thread = threading.Thread(target=pooler.serve, daemon=True)
    thread.start()
    try:
        yield pooler.port
    finally:
        pooler.close()
        thread.join(timeout=_PATIENCE_SECONDS)


@contextmanager
def forwarder(server_port: int) -> Iterator[int]:
    """Passes each connection on as it is, like a Service or a TCP proxy: nothing to refuse."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [listener]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                backend = socket.create_connection(("127.0.0.1", server_port))
                opened.extend((client, backend))
                for pair in ((client, backend), (backend, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for one in opened:
            one.close()
        thread.join(timeout=_PATIENCE_SECONDS)


def url_of(port: int, database: str) -> str:
    return f"postgresql://postgres:{PASSWORD_IN_URL}@127.0.0.1:{port}/{database}"


def _wants_more(answer: bytes) -> bool:
    """Ready for a query, or asks to be authenticated to; Ok and SASLFinal want no answer."""
    return answer[:1] == b"Z" or (answer[:1] == b"R" and int.from_bytes(answer[5:9], "big") not in (0, 12))


def _startup(source: socket.socket) -> bytes:
    length = _exactly(source, 4)
    return length + _exactly(source, int.from_bytes(length, "big") - 4)


def _message(source: socket.socket) -> bytes:
    head = _exactly(source, 5)
    return head + _exactly(source, int.from_bytes(head[1:], "big") - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise OSError("the other side went away")
        data += more
    return data


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(url_of(port, "postgres")).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer did not answer ({error}): {log.read_text()}")
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        else:
            return
