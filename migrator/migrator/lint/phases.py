"""Which kinds of statements belong in which phase, for what squawk has no rule.

squawk knows what a statement does to those who are at work; it does not know of phases. Here stands what is asked
of a file by the phase alone: the data of expand's tables is not touched, migrate changes no table, contract holds no
strong lock while rows are rewritten.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from migrator.lint.findings import Finding, SqlFile
from migrator.sqltext import Statement

_LOCKING = {
    "lock": "LOCK holds out everybody until the whole file is done",
    "cluster": "CLUSTER rewrites the table while nobody can read it",
    "vacuum": "VACUUM FULL rewrites the table while nobody can read it",
    "refresh": "REFRESH MATERIALIZED VIEW keeps readers of the view waiting",
    "reindex": "REINDEX keeps writers waiting",
}
_REWRITING = ("update", "delete", "merge", "truncate", "copy")
_SQUAWK_DROPS = frozenset(
    ("column", "table", "view", "function", "type", "schema", "sequence", "domain", "constraint")
) | {"extension", "index", "policy", "database"}
_MIGRATE_FIRST = frozenset({"insert", "update", "delete", "merge", "with", "select", "analyze", "set"})
_WITHOUT_ROWS = frozenset(
    ("constraint", "trigger", "function", "procedure", "aggregate", "view", "policy", "rule", "index", "cast")
)
_NAME_FILLERS = frozenset({"if", "exists", "not", "only", "concurrently", "materialized", "or", "replace"})

Told = tuple[str, str, str]
"""rule, message, mend"""


def phase_findings(file: SqlFile) -> Iterator[Finding]:
    """What the phase forbids by the kind of statement."""
    rule = _RULES.get(file.phase)
    if rule is None:
        return
    found = file.statements()
    for statement in found:
        for name, message, mend in rule(statement, found):
            yield Finding(file.name, statement.line, name, message, mend)


def comes_again(statement: Statement, others: Iterable[Statement]) -> bool:
    """Whether what is dropped here is made anew by the same file: then nobody misses it after its transaction."""
    words = statement.words
    for place, word in enumerate(words):
        if word != "drop" or place + 1 >= len(words):
            continue
        kind = words[place + 1]
        name = _name_after(words, place + 2)
        if (
            name is None
            or kind not in _WITHOUT_ROWS
            or not any(_makes(other, kind, name) for other in others)
        ):
            return False
    return "drop" in words


def _expand(statement: Statement, others: Sequence[Statement]) -> Iterator[Told]:
    first, second = (*statement.words, "", "")[:2]
    if first in _LOCKING:
        yield "strong-lock", _LOCKING[first], "leave it to a quiet hour of its own, outside of an upgrade"
    elif first in _REWRITING:
        yield (
            "not-in-expand",
            f"{first.upper()} changes rows while the locks of the whole file are held",
            "fill rows in migrate.sql, which commits batch by batch; new rows of a new table may be inserted here",
        )
    elif first == "revoke":
        yield (
            "right-revoked",
            "REVOKE takes from the old version what it may need",
            "revoke it in contract.sql",
        )
    elif first == "drop" and second not in _SQUAWK_DROPS and not comes_again(statement, others):
        yield (
            "dropped",
            f"DROP {second.upper()}: the old version still works on it",
            "drop it in contract.sql",
        )
    elif statement.words[:2] == ("alter", "table") and _has(statement, "disable", "trigger"):
        yield (
            "dropped",
            "a trigger that is disabled does not fire for the old version",
            "drop it in contract.sql",
        )


def _migrate(statement: Statement, _others: Sequence[Statement]) -> Iterator[Told]:
    words = statement.words
    first = words[0] if words else ""
    validates = words[:2] == ("alter", "table") and "validate" in words and "constraint" in words
    if first in _MIGRATE_FIRST or validates:
        return
    yield (
        "not-in-migrate",
        f"{' '.join(words[:2]).upper()}: migrate changes rows",
        "put what adds to the schema in expand.sql, indexes in online.sql, and what takes away in contract.sql",
    )


def _contract(statement: Statement, _others: Sequence[Statement]) -> Iterator[Told]:
    first = statement.words[0] if statement.words else ""
    if first in _LOCKING:
        yield "strong-lock", _LOCKING[first], "leave it to a quiet hour of its own, outside of an upgrade"
    elif first in (*_REWRITING, "insert"):
        yield (
            "not-in-contract",
            f"{first.upper()} changes rows while the locks of the whole file are held",
            "change rows in migrate.sql, which commits batch by batch",
        )


def _divergence(statement: Statement, _others: Sequence[Statement]) -> Iterator[Told]:
    if statement.words[:1] not in (("select",), ("with",)):
        yield "not-a-question", "the divergence query only asks", "make it one SELECT count(*)"


_RULES: dict[str, Callable[[Statement, Sequence[Statement]], Iterator[Told]]] = {
    "expand": _expand,
    "migrate": _migrate,
    "contract": _contract,
    "divergence": _divergence,
}


def _makes(statement: Statement, kind: str, name: str) -> bool:
    words = statement.words
    for place, word in enumerate(words):
        if word in ("create", "add") and kind in words[place + 1 : place + 5]:
            begins = words.index(kind, place + 1) + 1
            if _name_after(words, begins) == name:
                return True
    return False


def _name_after(words: Sequence[str], place: int) -> str | None:
    return next((word for word in words[place:] if word not in _NAME_FILLERS), None)


def _has(statement: Statement, *pair: str) -> bool:
    words = statement.words
    return any(words[place : place + len(pair)] == pair for place in range(len(words)))
