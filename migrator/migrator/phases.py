"""The phases as they are carried out, one version at a time. Each ends with a line in the ledger that was
written in the same transaction as its work."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from migrator.answer import State, log_line
from migrator.barrier import Replicas
from migrator.database import count, run_script, run_single, translated, with_patience
from migrator.fence import hold_fence
from migrator.ledger import Pen, Record
from migrator.lines import Event
from migrator.online import Online
from migrator.permits import consume_permit
from migrator.progress import Progress
from migrator.progress_port import Board
from migrator.request import Verb
from migrator.scripts import Library, Script
from migrator.settings import Limits
from migrator.stops import Reason, Refused
from migrator.tool import Move
from migrator.tool_text import Targets

_PASSES = 3


@dataclass(frozen=True)
class Batch:
    """What one batch did. Without `cursor` there is nothing left to visit."""

    rows: int
    cursor: str | None


@dataclass(frozen=True)
class Phases:
    """Everything a phase needs; what changes between versions is an argument."""

    connection: Connection[Any]
    pen: Pen
    library: Library
    limits: Limits
    replicas: Replicas
    interim: Path
    """where the answer will stand; until then, how far the work has come"""
    board: Board
    """the same, for whoever asks meanwhile"""
    move: Move | None = None
    """the application's own tool, where the image brings one"""
    told: list[str] = field(default_factory=list)
    """what is done, cannot be taken back, and somebody has to know"""

    def expand(self, record: Record) -> None:
        if self._moved(record, Verb.EXPAND):
            self._apply(record, Verb.EXPAND, State.EXPANDED, None, names=("targets.json",))
            return
        self._apply(record, Verb.EXPAND, State.EXPANDED, self._script(record, "expand.sql"))

    def migrate(self, record: Record) -> None:
        """Batches until none is left, then the divergence query, which has the last word; then what takes long and
        locks nobody out, on rows that are complete by then."""
        self._moved(record, Verb.MIGRATE)
        script = self._script(record, "migrate.sql")
        cursor = record.cursor
        rows_done = record.rows_done
        rows_total = rows_done + (self.divergence(record) or 0)
        left: int | None = None
        for passed in range(_PASSES):
            if script is not None:
                rows_done = self._pass(script, cursor, rows_done, rows_total)
            left = self.divergence(record)
            if not left:
                break
            # Rows that others held locked may have been skipped: the next pass begins anew, a little later.
            cursor = ""
            time.sleep(self.limits.backoff_ms / 1000 * 2**passed)
        if left:
            raise Refused(
                Reason.DIVERGENCE_LEFT,
                f"{record.version}: {left} rows still differ between the two shapes after {_PASSES} passes",
                f"{record.version}/divergence.sql counts them: select these rows, then mend migrate.sql or "
                "the triggers of expand.sql, run backout and begin a new upgrade",
                version=record.version.text,
                divergence=left,
            )
        online = self._script(record, "online.sql")
        if online is not None:
            Online(self.connection, self.pen, self.limits, online).carry_out()
        names = ("migrate.sql", "online.sql", "divergence.sql", "targets.json")
        self._apply(
            record, Verb.MIGRATE, State.MIGRATED, None, names=names, rows_done=rows_done, divergence=left
        )

    def refuse_divergence(self, record: Record) -> int | None:
        """The rows that differ, which are none; contract must not be what loses them."""
        left = self.divergence(record)
        if left:
            raise Refused(
                Reason.DIVERGENCE_LEFT,
                f"{record.version}: {left} rows differ between the two shapes; contract would lose data",
                "run migrate again; it refuses with the mend where the rows cannot be brought together",
                version=record.version.text,
                divergence=left,
            )
        return left

    def contract(self, record: Record) -> None:
        left = self.refuse_divergence(record)
        script = self._script(record, "contract.sql")
        if self._has_tool(record):
            # A tool cannot contract in the ledger's own transaction: the permit is consumed before it begins.
            with self.connection.transaction():
                hold_fence(self.connection, self.pen)
                consume_permit(self.connection, self.pen)
            self._moved(record, Verb.CONTRACT)
        names = ("targets.json",) if self._has_tool(record) else ()
        self._apply(record, Verb.CONTRACT, State.CONTRACTED, script, names=names, divergence=left)

    def backout(self, record: Record, *, accept_loss: bool) -> None:
        """A version that never came to anything is closed too: a late Job of this upgrade finds it so."""
        script = None
        if record.state in (State.EXPANDED, State.MIGRATED):
            script = self._script(record, "backout.sql")
            if (
                not self._has_tool(record)
                and script is None
                and ("expand.sql" in record.digests or "migrate.sql" in record.digests)
            ):
                raise Refused(
                    Reason.BACKOUT_MISSING,
                    f"{record.version} is {record.state.value}, and the image brings no backout.sql for it",
                    "add one that takes expand.sql back; or keep the schema: both versions work on it",
                    version=record.version.text,
                )
            self._refuse_loss(record, accept_loss=accept_loss)
        # Also where nothing was applied: a killed expand may have moved the tool and told nobody.
        self._moved(record, Verb.BACKOUT)
        self._apply(record, Verb.BACKOUT, State.BACKED_OUT, script)

    def _has_tool(self, record: Record) -> bool:
        return self._script(record, "targets.json") is not None

    def _moved(self, record: Record, phase: Verb) -> bool:
        """Whether the version is one of the tool's, which then stands at the phase's target."""
        script = self._script(record, "targets.json")
        if script is None:
            return False
        if self.move is None:
            raise Refused(
                Reason.FILES_INVALID,
                f"{script.label}: the image says targets and brings no tool.json",
                "say in /migrations/tool.json how the tool is asked for its state, moved forward and back",
                version=record.version.text,
            )
        self.told.extend(self.move.to(phase, script, Targets.parse(script.text)))
        return True

    def divergence(self, record: Record) -> int | None:
        return divergence(self.connection, self.limits, self.library, record)

    def _refuse_loss(self, record: Record, *, accept_loss: bool) -> None:
        if record.state is not State.MIGRATED or accept_loss:
            return
        left = self.divergence(record)
        if left:
            raise Refused(
                Reason.DIVERGENCE_LEFT,
                f"{record.version}: {left} rows differ between the two shapes; backout would lose data",
                "run migrate again to bring them together; or repeat backout with --accept-loss",
                version=record.version.text,
                divergence=left,
            )

    def _pass(self, script: Script, cursor: str, rows_done: int, rows_total: int) -> int:
        every_seconds = self.limits.progress_ms / 1000
        progress = Progress(script.label, script.version.text, rows_done, every_seconds, self.board)
        while True:
            self.replicas.throttle(self.connection)
            batch = self._batch(script, cursor, rows_done)
            if batch.cursor is None:
                return rows_done
            rows_done += batch.rows
            cursor = batch.cursor
            progress.show(rows_done, max(rows_total, rows_done), self.interim)
            time.sleep(self.limits.pause_ms / 1000)

    def _batch(self, script: Script, cursor: str, rows_done: int) -> Batch:
        def work(connection: Connection[Any]) -> Batch:
            hold_fence(connection, self.pen)
            connection.execute(
                "SELECT set_config('maestro_conductor.cursor', %s, true),"
                " set_config('maestro_conductor.batch_rows', %s, true)",
                (cursor, str(self.limits.batch_rows)),
            )
            batch = _read_batch(run_single(connection, script), script, cursor)
            if batch.cursor is not None:
                self.pen.append(
                    connection,
                    Verb.MIGRATE,
                    Event.BATCH,
                    version=script.version,
                    digests={script.name: script.digest},
                    cursor=batch.cursor,
                    rows_done=rows_done + batch.rows,
                )
            return batch

        return with_patience(self.connection, self.limits, script, self.limits.batch_timeout_ms, work)

    def _apply(
        self,
        record: Record,
        phase: Verb,
        state: State,
        script: Script | None,
        *,
        names: tuple[str, ...] = (),
        rows_done: int | None = None,
        divergence: int | None = None,
    ) -> None:
        """Script and ledger line in one transaction: never is one there without the other."""
        scripts = self.library.get(record.version, {})
        applied = (script.name,) if script else names

        def work(connection: Connection[Any]) -> None:
            hold_fence(connection, self.pen)
            if phase is Verb.CONTRACT:
                consume_permit(connection, self.pen)
            if script is not None:
                run_script(connection, script)
            self.pen.append(
                connection,
                phase,
                Event.APPLIED,
                version=record.version,
                state=state,
                digests={name: scripts[name].digest for name in applied if name in scripts},
                rows_done=rows_done,
                divergence=divergence,
            )

        self._transact(script, work)
        log_line("info", f"{phase.value} applied", version=record.version.text, state=state.value)

    def _transact(self, script: Script | None, work: Callable[[Connection[Any]], None]) -> None:
        if script is not None:
            with_patience(self.connection, self.limits, script, self.limits.statement_timeout_ms, work)
            return
        with translated(self.connection), self.connection.transaction():
            work(self.connection)

    def _script(self, record: Record, name: str) -> Script | None:
        return self.library.get(record.version, {}).get(name)


def divergence(connection: Connection[Any], limits: Limits, library: Library, record: Record) -> int | None:
    """Rows whose two shapes disagree; None where the version brings no such question."""
    script = library.get(record.version, {}).get("divergence.sql")
    return None if script is None else count(connection, limits, script)


def _read_batch(cursor: Any, script: Script, before: str) -> Batch:
    """A statement that answers (rows, cursor) pages by itself; of others, the rows touched are counted."""
    names = [column.name for column in cursor.description or ()]
    if names != ["rows", "cursor"]:
        touched = cursor.rowcount
        return Batch(touched, "" if touched > 0 else None)
    answered = cursor.fetchall()
    rows, after = answered[0] if len(answered) == 1 else (None, None)
    if not isinstance(rows, int) or not (after is None or isinstance(after, str)):
        raise Refused(
            Reason.FILES_INVALID,
            f"{script.label}: its answer is not one row of rows (bigint) and cursor (text)",
            "answer the rows changed, and the last key visited, which is NULL when there is none left",
            version=script.version.text,
        )
    if after is not None and after == before:
        raise Refused(
            Reason.FILES_INVALID,
            f"{script.label}: its cursor does not move on",
            "visit only keys after current_setting('maestro_conductor.cursor')",
            version=script.version.text,
        )
    return Batch(rows, after)
