"""Every version's files carried out on a scratch database, and its catalogue compared around each of them.

What cannot be read from the text is seen here: what a DO block does, what CASCADE takes along, whether a table is
written anew or read from end to end while others are kept out. The database is empty and goes at the end.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, Cursor, sql

from migrator.dsn import Dsn
from migrator.lint.catalogue import Catalogue, read_catalogue, scans, strong_locks
from migrator.lint.changes import JUDGES, Breach, backout_breaches
from migrator.lint.findings import Finding, SqlFile, StatementFailedError
from migrator.lint.tool_rehearsal import TARGETS, ToolRehearsal
from migrator.sqltext import Statement
from migrator.tool_text import Tool

_STATEMENT_MS = 60_000
_MOST_BATCHES = 200


class RehearsalFailed(Exception):  # noqa: N818 - told to people as it is
    """There is no scratch database to be had, or the schema to begin with cannot be made."""


def rehearse(
    dsn: Dsn, basis: Sequence[SqlFile], versions: Iterable[Sequence[SqlFile]], tool: Tool | None = None
) -> list[Finding]:
    """`basis` brings the schema that the first of `versions` starts from; `tool` moves those that name targets of it.
    Raise RehearsalFailed."""
    with _scratch_database(dsn) as (connection, scratch):
        moved = ToolRehearsal(connection, scratch, tool) if tool is not None else None
        for file in basis:
            try:
                if file.phase == TARGETS and moved is not None:
                    moved.bring(file)
                else:
                    for _ in _carry_out(connection, file):
                        pass
            except StatementFailedError as failed:
                raise RehearsalFailed(
                    f"{failed.finding.file} line {failed.finding.line}: {failed.finding.message}"
                ) from failed
        findings: list[Finding] = []
        for files in versions:
            try:
                by_phase = {file.phase: file for file in files}
                if TARGETS in by_phase and moved is not None:
                    question = by_phase.get("divergence")
                    asked = partial(_ask, connection, question) if question is not None else None
                    findings += moved.rehearse(by_phase[TARGETS], asked)
                else:
                    findings += _version(connection, by_phase)
            except StatementFailedError as failed:
                findings.append(failed.finding)
                break
        return findings


def _version(connection: Connection[Any], files: dict[str, SqlFile]) -> Iterator[Finding]:
    backout, expand = files.get("backout"), files.get("expand")
    if backout is not None:
        yield from _there_and_back(connection, expand, backout)
    for phase in JUDGES:
        if file := files.get(phase):
            yield from rehearse_phase(connection, file)
        if phase == "online" and (question := files.get("divergence")):
            _ask(connection, question)


def _ask(connection: Connection[Any], question: SqlFile) -> None:
    for _ in _carry_out(connection, question):
        pass


def rehearse_phase(connection: Connection[Any], file: SqlFile) -> Iterator[Finding]:
    """One file in one transaction, as the runner does it, with a look after each statement."""
    judge = JUDGES[file.phase]
    before = read_catalogue(connection)
    seen: list[tuple[Statement, list[Breach]]] = []
    read_under_lock: dict[str, Finding] = {}

    def look(statement: Statement, held: dict[str, str]) -> None:
        seen.append((statement, list(judge(before, read_catalogue(connection)))))
        for oid, mode in held.items():
            table = before.by_identity().get(("relation", oid))
            if table is not None and oid not in read_under_lock:
                read_under_lock[oid] = Finding(
                    file.name,
                    statement.line,
                    "scan-under-lock",
                    f"{table} is read from end to end under {mode}: who writes waits for as long as that takes",
                    "add constraints NOT VALID and VALIDATE them before any other statement takes a lock; "
                    "build indexes CONCURRENTLY; prove SET NOT NULL by a validated CHECK",
                )

    for statement, held in _carry_out(connection, file):
        look(statement, held)
    if file.phase not in ("migrate", "online"):
        yield from read_under_lock.values()
    for breach in seen[-1][1] if seen else ():
        yield Finding(file.name, _first_line(seen, breach), breach.rule, breach.message, breach.mend)


def _there_and_back(
    connection: Connection[Any], expand: SqlFile | None, backout: SqlFile
) -> Iterator[Finding]:
    before = read_catalogue(connection)
    after = before

    def both() -> Catalogue:
        for file in (expand, backout):
            if file is not None:
                for statement in file.statements():
                    _execute(connection, file, statement)
        return read_catalogue(connection)

    with connection.transaction(force_rollback=True):
        after = both()
    for breach in backout_breaches(before, after):
        yield Finding(backout.name, 1, breach.rule, breach.message, breach.mend)


def _carry_out(connection: Connection[Any], file: SqlFile) -> Iterator[tuple[Statement, dict[str, str]]]:
    """After each statement: it, and the tables that it began to read while it keeps writers from them."""
    found = file.statements()
    if file.phase == "online":
        # Each by itself, outside of a transaction, as the runner does it.
        for statement in found:
            _execute(connection, file, statement)
            yield statement, {}
        return
    if file.phase == "migrate":
        for statement in found:
            _repeat(connection, file, statement)
            yield statement, {}
        return
    with connection.transaction():
        begun = scans(connection)
        for statement in found:
            _execute(connection, file, statement)
            now = scans(connection)
            locks = strong_locks(connection)
            yield statement, {oid: mode for oid, mode in locks.items() if now.get(oid, 0) > begun.get(oid, 0)}
            begun = now


def _repeat(connection: Connection[Any], file: SqlFile, statement: Statement) -> None:
    """Batch by batch, as the runner does it: the basis may bring rows, and what follows may need them filled."""
    cursor: str | None = ""
    for _ in range(_MOST_BATCHES):
        with connection.transaction():
            connection.execute(
                "SELECT set_config('maestro_conductor.cursor', %s, true),"
                " set_config('maestro_conductor.batch_rows', '1000', true)",
                (cursor,),
            )
            answer = _execute(connection, file, statement)
            if [column.name for column in answer.description or ()] == ["rows", "cursor"]:
                row = answer.fetchone()
                cursor = row[1] if row else None
            elif answer.rowcount <= 0:
                cursor = None
        if cursor is None:
            return
    raise StatementFailedError(
        Finding(
            file.name,
            statement.line,
            "fails",
            f"not done after {_MOST_BATCHES} batches of an almost empty table",
            "touch 0 rows, or answer NULL as cursor, when nothing is left",
        )
    )


def _execute(connection: Connection[Any], file: SqlFile, statement: Statement) -> Cursor[Any]:
    try:
        return connection.execute(statement.text.encode())
    except psycopg.Error as error:
        position = error.diag.statement_position or ""
        below = statement.text.count("\n", 0, int(position) - 1) if position.isdigit() else 0
        said = " ".join((error.diag.message_primary or str(error)).split())
        raise StatementFailedError(
            Finding(
                file.name,
                statement.line + below,
                "fails",
                f"{said} (SQLSTATE {error.sqlstate or 'unknown'})",
                "mend the statement; this version's other files, and the versions after it, were not rehearsed",
            )
        ) from error


def _first_line(seen: Sequence[tuple[Statement, list[Breach]]], breach: Breach) -> int:
    """The statement after which the breach was there for good: what is mended later in the file is none."""
    line = seen[-1][0].line
    for statement, breaches in reversed(seen):
        if breach not in breaches:
            break
        line = statement.line
    return line


@contextmanager
def _scratch_database(dsn: Dsn) -> Iterator[tuple[Connection[Any], Dsn]]:
    name = f"conductor_lint_{secrets.token_hex(6)}"
    try:
        server = psycopg.connect(**_parameters(dsn), autocommit=True)
    except psycopg.OperationalError as error:
        raise RehearsalFailed(
            f"--dsn: no connection to {dsn.place}: {dsn.redact(' '.join(str(error).split()))}"
        ) from error
    with server:
        try:
            # Empty, whatever somebody put into template1.
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise RehearsalFailed(
                f"--dsn: no scratch database at {dsn.place}: "
                f"{error.diag.message_primary or error}; give a role that may CREATE DATABASE"
            ) from error
        try:
            with psycopg.connect(**{**_parameters(dsn), "dbname": name}, autocommit=True) as connection:
                connection.execute(f"SET statement_timeout = {_STATEMENT_MS}")
                yield connection, replace(dsn, parameters={**dsn.parameters, "dbname": name})
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _parameters(dsn: Dsn) -> dict[str, Any]:
    return {"connect_timeout": "5", **dsn.parameters, "application_name": "conductor migrations lint"}
