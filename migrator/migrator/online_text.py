"""What may stand in `online.sql`: statements that take long and lock nobody out, so that each is done by itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from migrator.sqltext import Fault, Statement, statements

_WORD = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
_TABLE = rf"(?P<table>{_WORD}(?:\.{_WORD})?)"
_INDEX = re.compile(
    rf"CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_WORD})\s+"
    rf"ON\s+{_TABLE}(?P<rest>[\s(].*)",
    re.IGNORECASE | re.DOTALL,
)
_VALIDATION = re.compile(
    rf"ALTER\s+TABLE\s+(?:ONLY\s+)?{_TABLE}\s+VALIDATE\s+CONSTRAINT\s+(?P<name>{_WORD})\s*", re.IGNORECASE
)
_LONGEST_NAME_BYTES = 63


@dataclass(frozen=True)
class Index:
    """An index to be built concurrently."""

    statement: Statement
    name: str
    table: str
    """as it is written, quotes and schema included"""
    _match: re.Match[str]

    def create(self) -> str:
        """Without IF NOT EXISTS, which would take an invalid one for done."""
        return f"CREATE {self._unique}INDEX CONCURRENTLY {self._written} ON {self.table}{self._match['rest']}"

    def create_on(self, table: str) -> str:
        """The same at once, on another table."""
        return f"CREATE {self._unique}INDEX {self._written} ON {table}{self._match['rest']}"

    @property
    def _written(self) -> str:
        return self._match["name"]

    @property
    def _unique(self) -> str:
        return "UNIQUE " if self._match["unique"] else ""


@dataclass(frozen=True)
class Validation:
    """A constraint to be validated."""

    statement: Statement
    name: str
    table: str


def online_steps(text: str) -> Iterator[Index | Validation]:
    """The statements of a file without faults."""
    for statement in statements(text):
        if match := _INDEX.fullmatch(statement.text):
            yield Index(statement, _plain(match["name"]), match["table"], match)
        elif match := _VALIDATION.fullmatch(statement.text):
            yield Validation(statement, _plain(match["name"]), match["table"])


def online_faults(text: str) -> Iterator[Fault]:
    """What the runner could not watch over, and could not repair after a crash."""
    for statement in statements(text):
        match = _INDEX.fullmatch(statement.text) or _VALIDATION.fullmatch(statement.text)
        if match is None:
            yield Fault(
                statement.line,
                "is neither CREATE INDEX CONCURRENTLY with a name nor ALTER TABLE ... VALIDATE CONSTRAINT",
                "write CREATE [UNIQUE] INDEX CONCURRENTLY name ON table ..., without comments inside; other "
                "statements belong in expand.sql, migrate.sql or contract.sql",
            )
        elif len(_plain(match["name"]).encode()) > _LONGEST_NAME_BYTES:
            yield Fault(
                statement.line,
                f"the name is longer than {_LONGEST_NAME_BYTES} bytes, and PostgreSQL would cut it off",
                "shorten it",
            )


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
