"""Clients that read `*` of a table whose columns are about to change.

A statement that was prepared before ends with "cached plan must not change result type" afterwards, again and again on
the same connection. Another session's prepared statements cannot be seen; its newest statement can.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from migrator.answer import log_line
from migrator.scripts import Script
from migrator.settings import WARN
from migrator.sqltext import statements
from migrator.stops import Reason, Refused

_LOOKS, _PAUSE_SECONDS = 5, 0.05
#: Programs that people type into: they send text, and prepare nothing.
_BY_HAND = ("psql", "pg_dump", "pgAdmin", "DBeaver", "DataGrip", "migrator")
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_CHANGED = re.compile(
    rf"\balter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?(?:{_NAME}\s*\.\s*)?(?P<table>{_NAME})(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_COLUMN = re.compile(
    r"\bdrop\s+column\b|\badd\s+(?!constraint\b|check\b|foreign\b|unique\b|primary\b|exclude\b)",
    re.IGNORECASE,
)
_NO_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_ASKED_WHETHER = re.compile(r"\bexists\s*\(\s*select\s+\*", re.IGNORECASE)
_STAR = re.compile(rf"(?:\bselect|\bdistinct|\ball|\breturning|,)\s*(?:{_NAME}\s*\.\s*)?\*", re.IGNORECASE)
_SESSIONS = """
SELECT CASE WHEN backend_type IS NULL THEN usename ELSE application_name END, query, backend_type IS NULL
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND coalesce(backend_type, 'client backend') = 'client backend'
"""


@dataclass(frozen=True)
class StarReader:
    """One application at one endpoint, and the table that it reads so. No text of a statement: it may hold data."""

    place: str
    application: str
    table: str

    def __str__(self) -> str:
        return (
            f"{self.application or 'an application without a name'} at {self.place} reads * of {self.table}"
        )


def refuse_star_readers(script: Script, endpoints: Iterable[tuple[str, Connection[Any]]], way: str) -> None:
    """Raise Refused where such a client is connected; with `warn`, say it in the log instead."""
    tables = changed_tables(script.text)
    if not tables:
        return
    for place, connection in endpoints:
        found = _look_around(place, connection, tables)
        if not found:
            continue
        sessions = "; ".join(sorted(str(reader) for reader in found)[:5])
        if way == WARN:
            log_line("warning", "clients read * of what changes", file=script.label, readers=sessions)
            continue
        raise Refused(
            Reason.STAR_READERS,
            f"{script.label} changes the columns of {', '.join(sorted({reader.table for reader in found}))}, and "
            f"{sessions}: where that is prepared, it ends with 'cached plan must not change result type'",
            "name the columns in these statements (RETURNING * as well), or read a view that names them, and release "
            "that first; or, where nothing is prepared, set MIGRATOR_STAR_READERS=warn in the migrations image",
            version=script.version.text,
        )


def changed_tables(text: str) -> frozenset[str]:
    """Names without schema, as the catalogue has them, of the tables to which columns are added or from which they
    go. What a DO block does is not seen."""
    return frozenset(
        _plain(found["table"])
        for statement in statements(text)
        if statement.words[:2] == ("alter", "table")
        and (found := _CHANGED.search(_NO_CODE.sub(" ", statement.text)))
        and _COLUMN.search(found["rest"])
    )


def reads_star_of(query: str, tables: Iterable[str]) -> str | None:
    """The table of which the statement answers all columns, one of `tables`."""
    code = _ASKED_WHETHER.sub("exists (select 1", _NO_CODE.sub(" ", query))
    if not _STAR.search(code):
        return None
    named = {_plain(name) for name in re.findall(_NAME, code)}
    return next((table for table in sorted(tables) if table in named), None)


def _look_around(place: str, connection: Connection[Any], tables: frozenset[str]) -> set[StarReader]:
    """A few looks: of each session the newest statement shows, and a busy one has another soon."""
    found: set[StarReader] = set()
    hidden: set[str] = set()
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_SECONDS)
        sessions = connection.execute(_SESSIONS).fetchall()
        if not sessions:
            break
        # Of a session that this role may not look into, everything but its user is NULL.
        hidden.update(name or "" for name, _, unseen in sessions if unseen)
        found.update(
            _readers(place, [(name, query) for name, query, unseen in sessions if not unseen], tables)
        )
    if hidden:
        log_line(
            "warning",
            "statements of other sessions are hidden, whether they read * is unknown",
            users=sorted(hidden)[:5],
            mend="GRANT pg_read_all_stats to the role of DATABASE_URL",
        )
    return found


def _readers(
    place: str, sessions: Sequence[tuple[str | None, str | None]], tables: frozenset[str]
) -> Iterator[StarReader]:
    for application, query in sessions:
        if (application or "").startswith(_BY_HAND):
            continue
        if table := reads_star_of(query or "", tables):
            yield StarReader(place, application or "", table)


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
