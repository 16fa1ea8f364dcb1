"""mc 1.0 and mc 1.1 as writers: each knows its own shape of an owner only, and remembers what was acknowledged."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

_MOST_WRITES = 20_000
_PACE_SECONDS = 0.002


@dataclass
class Writer:
    """Publishes new executions and changes the owner of its share of the old ones, until told to stop."""

    url: str
    version: str
    share: Sequence[uuid.UUID]
    owners: dict[uuid.UUID, str] = field(default_factory=dict)
    """what was acknowledged, in the form of 1.0"""
    published: int = 0
    longest_seconds: float = 0.0
    failure: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._write, name=f"writer {self.version}", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        self._stop.set()

    def _write(self) -> None:
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                for number in range(_MOST_WRITES):
                    if self._stop.wait(_PACE_SECONDS):
                        return
                    began = time.monotonic()
                    self._write_one(connection, number)
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
        except psycopg.Error as error:
            self.failure = error

    def _write_one(self, connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        name, email = f"{self.version} Writer {number}", f"w{number}@example.org"
        if number % 5 == 0:
            email = ""
        owner = f"{name} <{email}>" if email else name
        if number % 2 and self.share:
            key = self.share[number % len(self.share)]
            if self.version == "1.0":
                done = connection.execute("UPDATE executions SET owner = %s WHERE id = %s", (owner, key))
            else:
                done = connection.execute(
                    "UPDATE executions SET owner_name = %s, owner_email = %s WHERE id = %s",
                    (name, email, key),
                )
            assert done.rowcount == 1
        else:
            key = uuid.uuid4()
            shape = {"owner": owner} if self.version == "1.0" else {"owner_name": name, "owner_email": email}
            connection.execute(
                sql.SQL("INSERT INTO executions (id, tenant, name, {}) VALUES (%s, 't', 'n', {})").format(
                    sql.SQL(", ").join(map(sql.Identifier, shape)),
                    sql.SQL(", ").join(map(sql.Literal, shape.values())),
                ),
                (key,),
            )
            self.published += 1
        self.owners[key] = owner


@contextmanager
def writing(*writers: Writer) -> Iterator[None]:
    """The writers at work for as long as the block lasts; a write that failed fails the test."""
    threads = [writer.start() for writer in writers]
    try:
        yield
    finally:
        for writer in writers:
            writer.stop()
        for thread in threads:
            thread.join(timeout=30)
    for writer in writers:
        if writer.failure is not None:
            raise writer.failure
        assert writer.owners, f"writer {writer.version} wrote nothing"


def acknowledged(*writers: Writer) -> dict[uuid.UUID, str]:
    """Every id that a writer was told is written, with the owner that it has now. Shares do not overlap."""
    return {key: owner for writer in writers for key, owner in writer.owners.items()}
