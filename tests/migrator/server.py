"""A real PostgreSQL server for the tests: made anew, on loopback, run by an unprivileged user, gone afterwards."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

PASSWORD = "s3cr:et/pass@word"
PASSWORD_IN_URL = "s3cr%3Aet%2Fpass%40word"
_START_SECONDS = 30.0
_COPY_SECONDS = 600.0
_MEND = (
    "install PostgreSQL 14 or later (Debian: apt-get install postgresql-15), or set PG_BINDIR to its folder"
)


@dataclass(frozen=True)
class Server:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self, name: str, template: str = "template1") -> str:
        """A database of its own, as a copy of another one."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def drop(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def running_server(folder: Path, *more: str) -> Iterator[Server]:
    """initdb where nothing is there yet, start, yield, stop. The data is worth nothing, so nothing waits for the disk,
    unless `more` settings say otherwise."""
    data = folder / "data"
    if not data.exists():
        _initialise(folder, data)
    with _running(folder, data, folder / "log", free_port(), more) as server:
        yield server


def _initialise(folder: Path, data: Path) -> None:
    as_user = unprivileged()
    if as_user:
        shutil.chown(folder, as_user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if as_user:
        shutil.chown(secret, as_user)
    made = subprocess.run(
        [_binaries() / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}",
         "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"],
        cwd=folder, user=as_user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    if made.returncode:
        pytest.fail(f"initdb ended with {made.returncode}: {made.stderr}")


@contextmanager
def _running(folder: Path, data: Path, log: Path, port: int, more: Sequence[str]) -> Iterator[Server]:
    settings = [
        f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off",
        "synchronous_commit=off", "full_page_writes=off", "max_connections=60", "shared_buffers=128MB",
        "max_prepared_transactions=8", *more,
    ]  # fmt: skip
    options = [part for setting in settings for part in ("-c", setting)]
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*_dying_with_us(), _binaries() / "postgres", "-D", data, *options],
            cwd=folder, user=unprivileged(), stdin=subprocess.DEVNULL, stdout=told, stderr=told,
        )  # fmt: skip
    try:
        server = Server(port)
        _wait_until_it_answers(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=30)


@contextmanager
def streaming_standby(server: Server, folder: Path, *more: str) -> Iterator[Server]:
    """A standby that streams from `server`, made of a base backup of it."""
    if as_user := unprivileged():
        shutil.chown(folder, as_user)
    data, log, port = folder / "data", folder / "log", free_port()
    _back_up(server, folder, data, "-R")
    settings = ("hot_standby=on", "wal_retrieve_retry_interval=200ms", *more)
    with _running(folder, data, log, port, settings) as standby:
        yield standby


def base_backup(server: Server, folder: Path) -> None:
    """A backup that nobody restores; `folder` is the server's own."""
    _back_up(server, folder, folder / "backup")


def _back_up(server: Server, folder: Path, data: Path, *more: str) -> None:
    made = subprocess.run(
        [_base_backup_program(), "-d", server.url("postgres"), "-D", data, "-X", "stream", "-c", "fast",
         "--no-sync", *more],
        cwd=folder, user=unprivileged(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        timeout=_COPY_SECONDS,
    )  # fmt: skip
    if made.returncode:
        pytest.fail(f"pg_basebackup ended with {made.returncode}: {made.stderr}")


def _dying_with_us() -> list[str]:
    """A test run that is killed cannot stop its server; the kernel does it then, where util-linux is there."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "QUIT"] if setpriv else []


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not answer ({error}): {log.read_text()}")
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
        else:
            return


def _binaries() -> Path:
    named = os.environ.get("PG_BINDIR")
    if named:
        found = [Path(named)]
    else:
        debian = Path("/usr/lib/postgresql")
        found = (
            sorted(debian.glob("*/bin"), key=lambda path: int(path.parent.name)) if debian.is_dir() else []
        )
        on_path = shutil.which("initdb")
        if on_path:
            found.append(Path(on_path).resolve().parent)
    for folder in reversed(found):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.fail(f"no PostgreSQL server programs (initdb, postgres) found: {_MEND}")


def _base_backup_program() -> Path:
    """That of the server, or a newer one: it copies older servers too."""
    own = _binaries() / "pg_basebackup"
    if own.exists():
        return own
    server = _major(_binaries() / "postgres")
    others = [
        path for path in Path("/usr/lib/postgresql").glob("*/bin/pg_basebackup") if _major(path) >= server
    ]
    if others:
        return others[0]
    pytest.skip(
        f"{_binaries()} has no pg_basebackup, and no other one here copies a server of version {server}: this test "
        "needs a standby or a base backup"
    )


def _major(program: Path) -> int:
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return int(re.findall(r"\d+", said)[0])


def unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
