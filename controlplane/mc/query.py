"""The language in which executions are found.

    FIND executions [WHERE field = value [AND field != value]...] [SINCE duration] [LIMIT count]

Keywords are read in either case. A value is a word or stands in quotes; a quote inside of it is doubled.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Never

DEFAULT_LIMIT = 20
MAX_LIMIT = 500
MAX_SINCE = timedelta(days=3650)
MAX_LENGTH = 2000

STATES = ("queued", "running", "finished")
FIELDS = ("deny", "name", "owner", "state", "tenant")

_TOKEN = re.compile(
    r"""
      (?P<quoted> '(?:[^'\x00-\x1f\x7f]|'')*' | "(?:[^"\x00-\x1f\x7f]|"")*" )
    | (?P<open> ['"] )
    | (?P<operator> != | = )
    | (?P<word> [^\s=!'"\x00-\x1f\x7f]+ )
    | (?P<other> \S )
    """,
    re.VERBOSE,
)
_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CLAUSE_ORDER = "write the clauses in the order WHERE, SINCE, LIMIT, each at most once"


class QueryError(Exception):
    """A query that cannot be read: says where, what was found there, and how to mend it."""

    def __init__(self, position: int, found: str, expected: str, mend: str) -> None:
        self.position = position
        self.found = found
        self.expected = expected
        self.mend = mend
        super().__init__(f"at position {position}: found {found}, expected {expected}; {mend}")


class Operator(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    operator: Operator
    value: str | bool


@dataclass(frozen=True, slots=True)
class Query:
    conditions: tuple[Condition, ...] = ()
    since: timedelta | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    position: int
    text: str
    kind: str

    def __str__(self) -> str:
        return repr(self.text) if self.kind != "end" else "the end of the query"


def parse(text: str) -> Query:
    """Read a query, or raise QueryError."""
    if len(text) > MAX_LENGTH:
        found = f"{len(text)} characters"
        raise QueryError(MAX_LENGTH + 1, found, f"at most {MAX_LENGTH}", "use fewer conditions")
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [_token(match) for match in _TOKEN.finditer(text)]
        self._tokens.append(_Token(len(text) + 1, "", "end"))
        self._next = 0

    def query(self) -> Query:
        self._keyword("FIND", "begin the query with FIND executions")
        self._keyword("executions", "executions are all that can be found: write FIND executions")
        conditions = self._conditions() if self._is_keyword("WHERE") else ()
        since = self._since() if self._is_keyword("SINCE") else None
        limit = self._limit() if self._is_keyword("LIMIT") else None
        if self._peek().kind != "end":
            self._refuse("the end of the query", self._mend_of_surplus(conditions))
        return Query(conditions, since, limit)

    def _conditions(self) -> tuple[Condition, ...]:
        self._take()
        conditions = [self._condition()]
        while self._is_keyword("AND"):
            self._take()
            conditions.append(self._condition())
        return tuple(conditions)

    def _condition(self) -> Condition:
        field = self._peek().text.lower()
        if self._peek().kind != "word" or field not in FIELDS:
            near = get_close_matches(field, FIELDS, n=1)
            mend = f"did you mean {near[0]!r}?" if near else "compare one of these with = or !="
            self._refuse(f"a field ({', '.join(FIELDS)})", mend)
        self._take()
        if self._peek().kind != "operator":
            self._refuse("= or !=", f"write {field}=value or {field}!=value")
        operator = Operator(self._take().text)
        return Condition(field, operator, self._value(field))

    def _value(self, field: str) -> str | bool:
        token = self._peek()
        if token.kind == "open":
            self._refuse("a closed quote", f"end the value with {token.text}")
        if token.kind not in {"word", "quoted"}:
            self._refuse(f"a value for {field}", "put values with spaces or signs into quotes")
        value = _unquoted(token)
        if field == "deny":
            if value.lower() not in {"true", "false"}:
                self._refuse("true or false", f"write {field}=true or {field}=false")
            self._take()
            return value.lower() == "true"
        if field == "state" and value not in STATES:
            near = get_close_matches(value, STATES, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"write {field}={STATES[0]}"
            self._refuse(f"a state ({', '.join(STATES)})", mend)
        self._take()
        return value

    def _since(self) -> timedelta:
        self._take()
        match = _DURATION.fullmatch(self._peek().text.lower())
        if match is None:
            self._refuse("a duration", "write a number and one of s, m, h, d, w, like SINCE 30d")
        since = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if since > MAX_SINCE:
            self._refuse(f"at most {MAX_SINCE.days}d", "leave SINCE out to find executions of any age")
        self._take()
        return since

    def _limit(self) -> int:
        self._take()
        text = self._peek().text
        if not (re.fullmatch(r"[0-9]{1,6}", text) and 1 <= int(text) <= MAX_LIMIT):
            self._refuse(f"a count from 1 to {MAX_LIMIT}", f"write LIMIT {DEFAULT_LIMIT}, say")
        self._take()
        return int(text)

    def _mend_of_surplus(self, conditions: tuple[Condition, ...]) -> str:
        if self._is_keyword("WHERE") or self._is_keyword("SINCE") or self._is_keyword("LIMIT"):
            return _CLAUSE_ORDER
        if self._is_keyword("AND") or self._is_keyword("OR"):
            return "conditions stand after WHERE and are joined by AND alone"
        if conditions and self._tokens[self._next - 1].kind == "word":
            return "join conditions by AND, and put values with spaces into quotes"
        return _CLAUSE_ORDER

    def _keyword(self, word: str, mend: str) -> None:
        if not self._is_keyword(word):
            self._refuse(word, mend)
        self._take()

    def _is_keyword(self, word: str) -> bool:
        token = self._peek()
        return token.kind == "word" and token.text.upper() == word.upper()

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _refuse(self, expected: str, mend: str) -> Never:
        token = self._peek()
        raise QueryError(token.position, str(token), expected, mend)


def _token(match: re.Match[str]) -> _Token:
    return _Token(match.start() + 1, match.group(), match.lastgroup or "other")


def _unquoted(token: _Token) -> str:
    if token.kind != "quoted":
        return token.text
    quote = token.text[0]
    return token.text[1:-1].replace(quote * 2, quote)
