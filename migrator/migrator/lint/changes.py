"""What a phase did to the catalogue, judged by what that phase may do. Pure: two catalogues in, breaches out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migrator.lint.catalogue import Catalogue, Item

_LATER = "do it in contract.sql, when the old version is gone"
_BESIDE = "add a new column beside it and keep both true (sync.toml, or triggers of your own)"
_HOLDS_ROWS = frozenset({"relation", "column", "type"})


@dataclass(frozen=True)
class Breach:
    """One promise that was broken; the same words each time, so that the statement that did it can be found."""

    rule: str
    message: str
    mend: str


Judge = Callable[[Catalogue, Catalogue], Iterator[Breach]]


def expand_breaches(before: Catalogue, after: Catalogue) -> Iterator[Breach]:
    """The old version has to go on as if nothing had happened."""
    known, found = before.by_identity(), after.by_identity()
    names, former = after.by_name(), before.by_name()
    for key, old in known.items():
        new = found.get(key)
        if new is None:
            again = names.get((old.kind, old.name))
            lost = again is None or old.kind in _HOLDS_ROWS or _lasting(again) != _lasting(old)
            if lost and not _goes_with_another(old, known, found):
                yield Breach("dropped", f"{old} is dropped; the old version may need it", _LATER)
        elif new.name.rpartition(".")[2] != old.name.rpartition(".")[2]:
            yield Breach("renamed", f"{old} becomes {new.name.removeprefix('public.')}", _BESIDE)
        else:
            yield from _changed(old, new)
    for key, new in found.items():
        same = former.get((new.kind, new.name))
        if key in known or (same is not None and _lasting(same) == _lasting(new)):
            continue
        if new.facts.get("relation") is not None:
            yield from _added(new, known)
        elif new.kind == "constraint" and ("type", str(new.facts["domain"])) in known:
            yield Breach("values-narrowed", f"{new} forbids what the old version may write", _LATER)


def migrate_breaches(before: Catalogue, after: Catalogue) -> Iterator[Breach]:
    """Rows, proofs of constraints and indexes; nothing else."""
    known, found = before.by_identity(), after.by_identity()
    for key in sorted(known.keys() | found.keys()):
        old, new = known.get(key), found.get(key)
        item = new or old
        assert item is not None
        if item.kind == "index" and old is None:
            continue
        if old is None or new is None or old.name != new.name or _lasting(old) != _lasting(new):
            yield Breach(
                "schema-changed",
                f"{item} is {'added' if old is None else 'dropped' if new is None else 'changed'} by migrate",
                "put what adds to the schema in expand.sql, and what takes away in contract.sql",
            )


def contract_breaches(before: Catalogue, after: Catalogue) -> Iterator[Breach]:
    """It may take away; but the version that serves goes on with what is left."""
    known, found = before.by_identity(), after.by_identity()
    for key, old in known.items():
        new = found.get(key)
        if new is None:
            continue
        if new.name.rpartition(".")[2] != old.name.rpartition(".")[2]:
            yield Breach(
                "renamed",
                f"{old} becomes {new.name.removeprefix('public.')}; the version that serves knows the former name",
                "add the new name in expand.sql of a later version, and drop the former one at its contract",
            )
        elif old.kind == "column" and old.facts["type"] != new.facts["type"]:
            yield _retyped(old, new)
        elif _rewritten(old, new):
            yield _rewrite(old)


def backout_breaches(before: Catalogue, after: Catalogue) -> Iterator[Breach]:
    """After backout everything is as before expand, in meaning if not in number."""
    known, found = before.by_name(), after.by_name()
    for key in sorted(known.keys() | found.keys()):
        old, new = known.get(key), found.get(key)
        item = old or new
        assert item is not None
        if old is None:
            yield Breach(
                "backout-incomplete",
                f"{item} of expand.sql is still there after backout.sql",
                "drop it there",
            )
        elif new is None:
            yield Breach(
                "backout-incomplete", f"{item} is gone after backout.sql", "leave it, or make it anew there"
            )
        elif _lasting(old) != _lasting(new):
            yield Breach(
                "backout-incomplete", f"{item} is not as before expand.sql", "set it back in backout.sql"
            )


#: What is allowed by phase. `online` is a part of migrate.
JUDGES: Mapping[str, Judge] = {
    "expand": expand_breaches,
    "migrate": migrate_breaches,
    "online": migrate_breaches,
    "contract": contract_breaches,
}


def _changed(old: Item, new: Item) -> Iterator[Breach]:
    was, now = old.facts, new.facts
    if old.kind == "column":
        if was["type"] != now["type"] or was["generated"] != now["generated"]:
            yield _retyped(old, new)
        if now["required"] and not was["required"]:
            yield Breach(
                "made-required", f"{old} may not be NULL any more; the old version may write NULL", _LATER
            )
        without = was["default"] is not None and now["default"] is None
        if without or (was["identity"] and not now["identity"]):
            yield Breach(
                "default-dropped", f"{old} has lost its default; the old version may rely on it", _LATER
            )
    elif old.kind == "relation":
        if _rewritten(old, new):
            yield _rewrite(old)
        if lost := _lost_rights(was["rights"], now["rights"]):
            yield Breach("right-revoked", f"{old}: {lost} is revoked", _LATER)
        if now["row_security"] and not was["row_security"]:
            yield Breach("right-revoked", f"{old}: row security hides rows from the old version", _LATER)
    elif old.kind == "type":
        gone = [label for label in was["labels"] if label not in now["labels"]]
        if gone or (now["required"] and not was["required"]):
            yield Breach(
                "values-narrowed", f"{old} takes less than before ({', '.join(gone) or 'no NULL'})", _LATER
            )
    elif old.kind == "trigger" and now["enabled"] == "D" != was["enabled"]:
        yield Breach("dropped", f"{old} is disabled; the old version may need it", _LATER)


def _added(new: Item, known: dict[tuple[str, str], Item]) -> Iterator[Breach]:
    table = known.get(("relation", str(new.facts["relation"])))
    if table is None:
        return
    facts = new.facts
    if new.kind == "column":
        given = facts["default"] is not None or facts["identity"] or facts["generated"]
        if facts["required"] and not given:
            yield Breach(
                "required-column",
                f"{new} is NOT NULL without a default: what the old version inserts lacks it, and so do the rows there",
                "add it nullable; fill it in migrate.sql, SET NOT NULL in contract.sql",
            )
        return
    # A new column's rules are its own; a rule over old columns alone is one that the old version never knew.
    only_old = bool(facts.get("columns")) and all(
        ("column", f"{table.identity}:{number}") in known for number in facts["columns"] if number
    )
    narrows = new.kind == "constraint" or (new.kind == "index" and facts["unique"])
    if narrows and only_old:
        yield Breach("values-narrowed", f"{new} forbids what the old version may write", _LATER)


def _goes_with_another(
    old: Item, known: dict[tuple[str, str], Item], found: dict[tuple[str, str], Item]
) -> bool:
    """Said once, for the table, rather than for each of its columns and indexes again."""
    relation = ("relation", str(old.facts.get("relation")))
    if relation in known and relation not in found:
        return True
    return old.kind == "index" and any(
        item.kind == "constraint" and item.facts["index"] == old.identity and key not in found
        for key, item in known.items()
    )


def _lasting(item: Item) -> dict[str, Any]:
    """The facts that do not depend on when the item was made."""
    passing = {"filenode", "relation", "columns", "index", "domain", "valid"}
    return {name: value for name, value in item.facts.items() if name not in passing}


def _rewritten(old: Item, new: Item) -> bool:
    tables = old.kind == "relation" and old.facts["kind"] in ("r", "p", "m")
    return tables and old.facts["filenode"] != new.facts["filenode"]


def _rewrite(table: Item) -> Breach:
    return Breach(
        "table-rewritten",
        f"{table} is written anew under a lock that keeps out readers and writers",
        "add a nullable column without a volatile default, and fill it in migrate.sql",
    )


def _retyped(old: Item, new: Item) -> Breach:
    return Breach(
        "type-changed",
        f"{old}: {old.facts['type']} becomes {new.facts['type']}; prepared statements of who is at work end with "
        "'cached plan must not change result type'",
        _BESIDE,
    )


def _lost_rights(was: list[str] | None, now: list[str] | None) -> str:
    """What `now` grants less; without a list the owner's default holds, and nobody else has any right."""
    granted = {_grantee(entry): set(_rights(entry)) for entry in now or ()}
    lost = [
        f"{''.join(sorted(less))} of {_grantee(entry) or 'PUBLIC'}"
        for entry in was or ()
        if (less := set(_rights(entry)) - granted.get(_grantee(entry), set()))
    ]
    return ", ".join(lost)


def _grantee(entry: str) -> str:
    return entry.rpartition("=")[0]


def _rights(entry: str) -> str:
    return entry.rpartition("=")[2].partition("/")[0].replace("*", "")
