"""A real PostgreSQL server for the tests: made anew, on loopback, run by an unprivileged user, gone afterwards."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

PASSWORD = "s3cr:et/pass@word"
PASSWORD_IN_URL = "s3cr%3Aet%2Fpass%40word"
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
def running_server(folder: Path) -> Iterator[Server]:
    """initdb, start, yield, stop. The data is worth nothing, so nothing waits for the disk."""
    binaries = _binaries()
    as_user = _unprivileged()
    if as_user:
        shutil.chown(folder, as_user)
    data, log = folder / "data", folder / "log"
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if as_user:
        shutil.chown(secret, as_user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            cwd=folder, user=as_user,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            told = log.read_text() if log.exists() else ""
            pytest.fail(f"{program} ended with {done.returncode}: {done.stderr}{told}")

    run("initdb", "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}",
        "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")  # fmt: skip
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off "
        "-c synchronous_commit=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=128MB"
    )
    run("pg_ctl", "-D", str(data), "-l", str(log), "-w", "-t", "30", "-o", options, "start")
    try:
        yield Server(port)
    finally:
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")


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
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.fail(f"no PostgreSQL server programs (initdb, pg_ctl) found: {_MEND}")


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None
