"""Statements of `online.sql`: indexes are built outside of transactions, so that no transaction can undo them.

Around each stand two lines of the ledger, an intent and that it was performed; what counts is the catalogue. An
index that a killed build left behind is invalid: every write pays for it and no query uses it. It is dropped and
built again, by whoever comes next.
"""

import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, errors, sql

from migrator.answer import log_line
from migrator.database import (
    CONTENTION,
    backoffs,
    limit_session,
    patience_over,
    settle,
    stop_for,
    tell_retry,
    with_patience,
)
from migrator.fence import hold_fence
from migrator.ledger import Pen
from migrator.lines import Event
from migrator.online_text import Index, Validation, online_steps
from migrator.request import Verb
from migrator.scripts import Script
from migrator.settings import Limits
from migrator.stops import Reason, Refused, TryAgain

_PROBE = "pg_temp.maestro_conductor_probe"


@dataclass(frozen=True)
class Found:
    """What the catalogue has under the name that an index is to have."""

    schema: str
    ours: bool
    """it is an index on that table"""
    valid: bool
    definition: str


@dataclass(frozen=True)
class Online:
    """Carries out one file, for one attempt."""

    connection: Connection[Any]
    pen: Pen
    limits: Limits
    script: Script

    def carry_out(self) -> None:
        for step in online_steps(self.script.text):
            if isinstance(step, Validation):
                self._validate(step)
            else:
                self._build(step)

    def _build(self, index: Index) -> None:
        pauses = backoffs(self.limits)
        for tried in range(1, self.limits.tries + 1):
            settle(self.connection)
            try:
                if self._stands(index):
                    return
                self._attempt(index)
                if self._stands(index):
                    return
            except CONTENTION as error:
                if tried == self.limits.tries:
                    raise patience_over(
                        error,
                        self.script,
                        self.limits,
                        self.limits.online_timeout_ms,
                        self.limits.online_lock_timeout_ms,
                    ) from error
                tell_retry(self.script, tried, error)
            time.sleep(next(pauses))
        raise TryAgain(
            Reason.LOCK_NOT_GRANTED,
            f"{self._where(index)}: {index.name} was built {self.limits.tries} times and was never valid",
            "see the server's log for what ends its builds",
            version=self.script.version.text,
        )

    def _stands(self, index: Index) -> bool:
        """Whether it is there as asked for. One that is not valid is dropped."""
        found = self._find(index)
        if found is None:
            return False
        if found.ours and found.valid:
            self._refuse_another(index, found)
            if self._told_last(index) is Event.INTENT:
                self._tell(index, Event.PERFORMED)
            return True
        if not found.ours:
            raise Refused(
                Reason.OBJECT_DIFFERS,
                f"{self._where(index)}: {found.schema}.{index.name} is there already, and is no index on {index.table}",
                "give the index another name, or rename the other one",
                version=self.script.version.text,
            )
        self._drop_invalid(index)
        return False

    def _drop_invalid(self, index: Index) -> None:
        found = self._find(index)
        if found is None or not found.ours or found.valid:
            return
        self._refuse_while_others_build(index)
        log_line("warning", "invalid index dropped", index=index.name)
        limit_session(self.connection, self.limits.online_lock_timeout_ms, self.limits.online_timeout_ms)
        drop = sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(found.schema, index.name))
        self.connection.execute(drop)

    def _attempt(self, index: Index) -> None:
        self._tell(index, Event.INTENT)
        log_line("info", "index is being built", file=self.script.label, index=index.name)
        limit_session(self.connection, self.limits.online_lock_timeout_ms, self.limits.online_timeout_ms)
        try:
            self.connection.execute(index.create().encode())
        except CONTENTION:
            raise
        except psycopg.Error as error:
            stop = stop_for(error, self.connection, self.script, index.statement)
            if not self.connection.broken and not self.connection.closed:
                # Tidied up here, because the file has to be mended before anybody comes again.
                settle(self.connection)
                self._drop_invalid(index)
            raise stop from error

    def _validate(self, step: Validation) -> None:
        def work(connection: Connection[Any]) -> None:
            hold_fence(connection, self.pen)
            row = connection.execute(
                "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s",
                (step.table, step.name),
            ).fetchone()
            if row is not None and row[0]:
                return
            # Its own lock stops neither readers nor writers, only other changes of the table.
            patience = str(self.limits.online_lock_timeout_ms)
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (patience,))
            try:
                connection.execute(step.statement.text.encode())
            except CONTENTION:
                raise
            except psycopg.Error as error:
                raise stop_for(error, connection, self.script, step.statement) from error
            self._append(connection, Event.PERFORMED, step.name)

        with_patience(self.connection, self.limits, self.script, self.limits.online_timeout_ms, work)

    def _find(self, index: Index) -> Found | None:
        row = self.connection.execute(
            """
            SELECT n.nspname, c.oid IS NOT NULL, coalesce(i.indrelid = t.oid, false),
                   coalesce(i.indisvalid AND i.indisready AND i.indislive, false),
                   coalesce(pg_get_indexdef(i.indexrelid), '')
            FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace
            LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = %s
            LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
            WHERE t.oid = to_regclass(%s)
            """,
            (index.name, index.table),
        ).fetchone()
        if row is None:
            raise Refused(
                Reason.SQL_FAILED,
                f"{self._where(index)}: there is no table {index.table}",
                "correct its name; it is looked up in the search_path of the role of DATABASE_URL",
                version=self.script.version.text,
            )
        schema, there, ours, valid, definition = row
        return Found(schema, ours, valid, definition) if there else None

    def _refuse_another(self, index: Index, found: Found) -> None:
        wanted = self._definition_wanted(index)
        if _shape(found.definition) != _shape(wanted):
            raise Refused(
                Reason.OBJECT_DIFFERS,
                f"{self._where(index)}: {index.name} is there already, as another index: {_shape(found.definition)} "
                f"where {_shape(wanted)} is asked for",
                "give the new one another name; or drop the one that is there, if nothing needs it, and retry",
                version=self.script.version.text,
            )

    def _definition_wanted(self, index: Index) -> str:
        """What the server makes of the statement, on an empty copy of the table that is undone at once."""
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(f"CREATE TABLE {_PROBE} (LIKE {index.table})".encode())
            self.connection.execute(index.create_on(_PROBE).encode())
            row = self.connection.execute(
                "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass", (_PROBE,)
            ).fetchone()
            assert row is not None
            return str(row[0])

    def _refuse_while_others_build(self, index: Index) -> None:
        """An index is invalid too while somebody builds it; whoever does holds this lock on its table."""
        row = self.connection.execute(
            "SELECT pid FROM pg_locks WHERE relation = to_regclass(%s) AND pid <> pg_backend_pid()"
            " AND mode = 'ShareUpdateExclusiveLock' AND granted",
            (index.table,),
        ).fetchone()
        if row is not None:
            raise errors.LockNotAvailable(f"backend {row[0]} builds, vacuums or validates {index.table}")

    def _told_last(self, index: Index) -> Event | None:
        row = self.connection.execute(
            "SELECT event FROM maestro_conductor.events WHERE version = %s AND object = %s ORDER BY seq DESC LIMIT 1",
            (self.script.version.text, index.name),
        ).fetchone()
        return Event(row[0]) if row else None

    def _tell(self, index: Index, event: Event) -> None:
        with self.connection.transaction():
            hold_fence(self.connection, self.pen)
            self._append(self.connection, event, index.name)

    def _append(self, connection: Connection[Any], event: Event, about: str) -> None:
        digests = {self.script.name: self.script.digest} if event is Event.PERFORMED else {}
        self.pen.append(
            connection, Verb.MIGRATE, event, version=self.script.version, digests=digests, about=about
        )

    def _where(self, index: Index) -> str:
        return f"{self.script.label} line {index.statement.line}"


def _shape(definition: str) -> str:
    """Without the names of index and table."""
    unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
    return unique + definition.partition(" USING ")[2]
