"""Just enough of SQL's lexical structure to tell the statements of a file apart, and to refuse those that
would break out of the transaction that the runner opens around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<line_comment> --[^\n]* )
  | (?P<block_comment> /\* )
  | (?P<escape_string> (?<![A-Za-z0-9_$]) [eE]'(?:[^'\\]|''|\\.)*' )
  | (?P<string> '(?:[^']|'')*' )
  | (?P<name> "(?:[^"]|"")*" )
  | (?P<dollar> (?<![A-Za-z0-9_$]) \$(?P<tag>[A-Za-z_][A-Za-z0-9_]*)?\$ )
  | (?P<word> [A-Za-z_][A-Za-z0-9_$]* | \\ )
  | (?P<bracket> [()] )
  | (?P<end> ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_WORDS_KEPT = 64

_TRANSACTION = frozenset({"begin", "commit", "rollback", "end", "abort", "savepoint", "release"})
_ALONE = frozenset({"vacuum", "cluster", "discard"})
_ALONE_PAIRS = frozenset(
    {
        ("create", "database"),
        ("drop", "database"),
        ("create", "tablespace"),
        ("drop", "tablespace"),
        ("alter", "system"),
        ("reindex", "database"),
        ("reindex", "system"),
        ("create", "subscription"),
        ("drop", "subscription"),
    }
)


@dataclass(frozen=True)
class Statement:
    """One statement of a file: where it begins, itself, and its first words outside of quotes and brackets."""

    line: int
    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    line: int
    message: str
    mend: str


def statements(text: str) -> Iterator[Statement]:
    """The statements of `text`; comments alone are none."""
    words: list[str] = []
    start: int | None = None
    depth = 0
    body = 0
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        token = _TOKEN.match(text, position)
        kind = token.lastgroup if token else None
        if token is not None and kind in ("line_comment", "block_comment"):
            position = token.end() if kind == "line_comment" else _block_comment_end(text, token.end())
            continue
        if kind == "end" and body == 0 and depth == 0:
            if start is not None:
                yield Statement(_line(text, start), text[start:position], tuple(words))
            words, start = [], None
            position += 1
            continue
        start = position if start is None else start
        if token is None:
            position += 1
            continue
        position = token.end()
        if token["dollar"]:
            closing = text.find(token["dollar"], position)
            position = len(text) if closing < 0 else closing + len(token["dollar"])
        elif token["bracket"]:
            depth = depth + 1 if token["bracket"] == "(" else max(0, depth - 1)
        elif token["word"] and depth == 0:
            word = token["word"].lower()
            body = _body_depth(body, words, word)
            if len(words) < _WORDS_KEPT:
                words.append(word)
    if start is not None:
        yield Statement(_line(text, start), text[start:], tuple(words))


def script_faults(text: str) -> Iterator[Fault]:
    """What cannot run inside the one transaction that a script is given."""
    for statement in statements(text):
        first, second = (*statement.words, "", "")[:2]
        if (trap := _of_psql(statement)) is not None:
            yield trap
            continue
        if first in _TRANSACTION or (first, second) in (("start", "transaction"), ("prepare", "transaction")):
            yield Fault(
                statement.line,
                f"{first.upper()} would end the transaction that holds the whole file together",
                "take it out: each file runs in a transaction of its own, which the runner opens and commits",
            )
        elif first in _ALONE or (first, second) in _ALONE_PAIRS or _concurrently(statement):
            shown = "CONCURRENTLY" if _concurrently(statement) else " ".join((first, second)).strip().upper()
            yield Fault(
                statement.line,
                f"{shown} cannot run inside a transaction",
                "put CREATE INDEX CONCURRENTLY into online.sql, which runs outside of transactions; take others out",
            )


def single_statement_faults(text: str) -> Iterator[Fault]:
    """What keeps a file from being the one statement that is repeated, or asked for a number."""
    found = list(statements(text))
    if not found:
        yield Fault(1, "there is no statement in it", "write one statement, or leave the file out")
    for extra in found[1:]:
        yield Fault(
            extra.line,
            "a second statement begins here",
            "make it one statement, with a WITH clause if need be",
        )
    yield from script_faults(text)


def _of_psql(statement: Statement) -> Fault | None:
    """What psql alone understands. It also goes on after an error, and answers 0, unless it is told not to."""
    if "\\" in statement.words:
        return Fault(
            statement.line,
            "a backslash command is for psql, and psql does not run this file",
            "write it as SQL; what was set with \\set is written out, what was included with \\i is copied in",
        )
    if statement.words[:1] == ("copy",) and "stdin" in statement.words:
        return Fault(
            statement.line,
            "COPY FROM stdin takes its rows from psql, and psql does not run this file",
            "write the rows as INSERT ... VALUES",
        )
    return None


def _concurrently(statement: Statement) -> bool:
    # REFRESH MATERIALIZED VIEW CONCURRENTLY is the one that may run in a transaction.
    return (
        statement.words[:1] in (("create",), ("drop",), ("reindex",), ("alter",))
        and "concurrently" in statement.words
    )


def _body_depth(depth: int, words: list[str], word: str) -> int:
    """A function body of the form BEGIN ATOMIC ... END holds semicolons without being quoted."""
    if depth == 0:
        return int(word == "atomic" and words[-1:] == ["begin"] and words[:1] == ["create"])
    return depth + {"case": 1, "end": -1}.get(word, 0)


def _block_comment_end(text: str, position: int) -> int:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(text, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
