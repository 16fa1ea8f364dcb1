"""The functions and triggers that keep both shapes of a sync true, as SQL.

`split` and `join` lead from one shape to the other; a pair of values fits only where the way there and back ends at the
same text. All comparisons are of texts under the collation "C": what a type or a collation calls equal (1.0 and 1.00,
'a' and 'A') may still be a change that somebody made.
"""

import re
from collections.abc import Iterable, Sequence

from migrator.sync import Sync, Unfit, is_text


def quoted(name: str) -> str:
    """An identifier; names with quotes in them are refused by the model."""
    return f'"{name}"'


def literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


def sentence(text: str) -> str:
    """For RAISE, in which a percent sign is a place for a value. It names columns, never what stands in a row."""
    return literal(text.replace("%", "%%"))


def table(sync: Sync) -> str:
    return f"{quoted(sync.schema_name)}.{quoted(sync.table)}"


def function(sync: Sync, suffix: str) -> str:
    return f"{quoted(sync.schema_name)}.{quoted(f'{sync.prefix}_{suffix}')}"


def differ(left: str, right: str) -> str:
    return f'({left})::text COLLATE "C" IS DISTINCT FROM ({right})::text COLLATE "C"'


def signatures(sync: Sync) -> Sequence[str]:
    """What DROP FUNCTION names, dependants first."""
    types = ", ".join(new.type for new in sync.new)
    return (
        f"{function(sync, 'sync')}()",
        f"{function(sync, 'unfilled')}()",
        f"{function(sync, 'split')}({sync.old_type})",
        f"{function(sync, 'join')}({types})",
    )


def triggers(sync: Sync) -> Sequence[str]:
    """By name: PostgreSQL fires them in this order, after those of the application that also change the row."""
    return (
        *(f"zzy_{sync.prefix}_unfilled_{n}" for n in range(1, len(sync.new) + 1)),
        f"zzz_{sync.prefix}_sync",
    )


def functions_sql(sync: Sync) -> str:
    parts = (_join(sync), _split(sync), _unfilled(sync), _sync(sync))
    # Trigger functions need no right to be fired, but what they call does.
    grants = "".join(
        f"GRANT EXECUTE ON FUNCTION {signature} TO PUBLIC;\n" for signature in signatures(sync)[2:]
    )
    return "\n".join(parts) + grants


def triggers_sql(sync: Sync) -> str:
    unfilled = " AND ".join(
        [f"OLD.{quoted(sync.old)} IS NOT NULL", *(f"OLD.{quoted(name)} IS NULL" for name in sync.columns)]
    )
    *guards, keeper = triggers(sync)
    lines = [
        f"CREATE TRIGGER {quoted(guard)} BEFORE UPDATE OF {quoted(name)} ON {table(sync)} FOR EACH ROW\n"
        f"    WHEN (NEW.{quoted(name)} IS NULL AND {unfilled})\n"
        f"    EXECUTE FUNCTION {function(sync, 'unfilled')}({literal(str(number))});\n"
        for number, (guard, name) in enumerate(zip(guards, sync.columns, strict=True), start=1)
    ]
    lines.append(
        f"CREATE TRIGGER {quoted(keeper)} BEFORE INSERT OR UPDATE ON {table(sync)} FOR EACH ROW\n"
        f"    EXECUTE FUNCTION {function(sync, 'sync')}();\n"
    )
    return "".join(lines)


def _join(sync: Sync) -> str:
    """NULL where the new columns say nothing, or nothing that the old one could hold."""
    values = dict(zip(sync.columns, _numbered(sync), strict=True))
    pieces = [
        f"({values[piece]})::text" if number % 2 else literal(piece)
        for number, piece in enumerate(sync.pieces)
        if number % 2 or piece
    ]
    lines = [f"IF {' AND '.join(f'{value} IS NULL' for value in values.values())} THEN RETURN NULL; END IF;"]
    if sync.whole is not None:
        others = " AND ".join(f"{value} = ''" for name, value in values.items() if name != sync.whole)
        lines.append(f"IF {others} THEN RETURN {values[sync.whole]}; END IF;")
    lines.append(f"RETURN ({' || '.join(pieces)})::{sync.old_type};")
    parameters = ", ".join(
        f"{value} {new.type}" for value, new in zip(values.values(), sync.new, strict=True)
    )
    return _function(
        f"{function(sync, 'join')}({parameters}) RETURNS {sync.old_type}",
        "STABLE",
        [],
        lines if is_text(sync.old_type) else _caught(lines, ["RETURN NULL;"]),
    )


def _split(sync: Sync) -> str:
    """All NULL where the value does not fit; each candidate has to lead back to the value, to the letter."""
    values = _numbered(sync)
    nothing = [f"{value} := NULL;" for value in values]
    back = differ(f"{function(sync, 'join')}({', '.join(values)})", "said")
    order = [sync.columns.index(name) for name in sync.pieces[1::2]]
    taken = [
        f"{values[place]} := parts[{number}]::{sync.new[place].type};"
        for number, place in enumerate(order, start=1)
    ]
    if not all(is_text(new.type) for new in sync.new):
        taken = _caught(taken, nothing)
    lines = [
        "IF said IS NULL THEN RETURN; END IF;",
        f"parts := regexp_match(said, {literal(_pattern(sync))});",
        "IF parts IS NOT NULL THEN",
        *_indented(taken),
        f"    IF NOT ({back}) THEN RETURN; END IF;",
        "END IF;",
    ]
    if sync.whole is not None:
        lines += [
            *(
                f"{value} := {'said' if name == sync.whole else literal('')};"
                for name, value in zip(sync.columns, values, strict=True)
            ),
            f"IF NOT ({back}) THEN RETURN; END IF;",
        ]
    lines += nothing
    outs = ", ".join(f"OUT {value} {new.type}" for value, new in zip(values, sync.new, strict=True))
    return _function(
        f"{function(sync, 'split')}(sync_old {sync.old_type}, {outs})",
        "STABLE",
        ['said text COLLATE "C" := sync_old::text;', "parts text[];"],
        lines,
    )


def _unfilled(sync: Sync) -> str:
    """Before a row is filled, NULL in a new column says nothing; a NULL that is meant cannot be told from it."""
    values = _numbered(sync)
    cases = " ".join(
        f"WHEN '{number}' THEN {value} IS NOT NULL" for number, value in enumerate(values, start=1)
    )
    told = f"{sync.table}: this row is not migrated yet, NULL in place of {sync.old} would be lost"
    return _function(
        f"{function(sync, 'unfilled')}() RETURNS trigger",
        "",
        [],
        [
            f"IF (SELECT CASE TG_ARGV[0] {cases} END FROM {function(sync, 'split')}(OLD.{quoted(sync.old)})) THEN",
            f"    RAISE EXCEPTION {sentence(told)}",
            "        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'write it again when migrate is done';",
            "END IF;",
            "RETURN NEW;",
        ],
    )


def _sync(sync: Sync) -> str:
    """The side that a statement changed decides. It writes to the row at hand only, so that nothing can loop."""
    old, columns, held = (
        quoted(sync.old),
        [quoted(name) for name in sync.columns],
        [f"held_{n}" for n in range(1, len(sync.new) + 1)],
    )
    new = [f"NEW.{column}" for column in columns]
    split, join = function(sync, "split"), f"{function(sync, 'join')}({', '.join(new)})"
    all_null = " AND ".join(f"{value} IS NULL" for value in new)
    absent = [
        f"{value} := coalesce({value}, {literal(column.absent)}::{column.type});"
        for value, column in zip(new, sync.new, strict=True)
        if column.absent is not None
    ]
    lost = " OR ".join(
        [differ(f"NEW.{old}", "joined"), *(differ(*pair) for pair in zip(new, held, strict=True))]
    )
    told = f"{sync.table}: the new columns cannot be told in {sync.old} without loss"
    disagree = f"{sync.table}: one statement gives {sync.old} and the new columns different values"
    unfit = f"{sync.table}: {sync.old} cannot be told in the new columns without loss"
    refused = [
        f"IF NEW.{old} IS NOT NULL AND {all_null} THEN",
        f"    RAISE EXCEPTION {sentence(unfit)} USING ERRCODE = 'check_violation';",
        "END IF;",
    ]
    lines = [
        "IF TG_OP = 'UPDATE' THEN",
        f"    old_changed := {differ(f'NEW.{old}', f'OLD.{old}')};",
        f"    IF {' AND '.join(f'OLD.{column} IS NULL' for column in columns)} THEN",
        f"        SELECT * INTO {', '.join(held)} FROM {split}(OLD.{old});",
        *(
            f"        {value} := coalesce({value}, {former});"
            for value, former in zip(new, held, strict=True)
        ),
        "    ELSE",
        *(f"        {former} := OLD.{column};" for former, column in zip(held, columns, strict=True)),
        "    END IF;",
        f"    new_changed := {' OR '.join(differ(*pair) for pair in zip(new, held, strict=True))};",
        "ELSE",
        f"    new_changed := NOT ({all_null});",
        f"    old_changed := NOT new_changed AND NEW.{old} IS NOT NULL;",
        "END IF;",
        "IF new_changed THEN",
        *(
            [f"    IF NOT ({all_null}) THEN", *(f"        {line}" for line in absent), "    END IF;"]
            if absent
            else []
        ),
        f"    joined := {join};",
        f"    IF old_changed AND {differ(f'NEW.{old}', 'joined')} THEN",
        f"        RAISE EXCEPTION {sentence(disagree)}",
        "            USING ERRCODE = 'check_violation';",
        "    END IF;",
        f"    NEW.{old} := joined;",
        f"    SELECT * INTO {', '.join(held)} FROM {split}(NEW.{old});",
        f"    IF {lost} THEN",
        f"        RAISE EXCEPTION {sentence(told)} USING ERRCODE = 'check_violation';",
        "    END IF;",
        "ELSIF old_changed THEN",
        f"    SELECT * INTO {', '.join(new)} FROM {split}(NEW.{old});",
        *(_indented(refused) if sync.old_unfit is Unfit.REFUSE else []),
        "END IF;",
        "RETURN NEW;",
    ]
    return _function(
        f"{function(sync, 'sync')}() RETURNS trigger",
        "",
        [
            *(f"{former} {column.type};" for former, column in zip(held, sync.new, strict=True)),
            f"joined {sync.old_type};",
            "old_changed boolean;",
            "new_changed boolean;",
        ],
        lines,
    )


def _numbered(sync: Sync) -> list[str]:
    """Names of parameters that no column can collide with."""
    return [f"sync_{number}" for number in range(1, len(sync.new) + 1)]


def _pattern(sync: Sync) -> str:
    """An advanced regular expression: a backslash before what is neither letter nor digit makes it plain."""
    parts = [
        "(.*)" if number % 2 else re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", piece)
        for number, piece in enumerate(sync.pieces)
    ]
    return f"^{''.join(parts)}$"


def _caught(lines: Iterable[str], instead: Iterable[str]) -> list[str]:
    """A type's own refusal is an answer here, not an error."""
    return [
        "BEGIN",
        *_indented(lines),
        "EXCEPTION WHEN data_exception OR check_violation OR not_null_violation THEN",
        *_indented(instead),
        "END;",
    ]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _function(head: str, kind: str, variables: Sequence[str], lines: Sequence[str]) -> str:
    declared = "".join(f"    {line}\n" for line in variables)
    body = "".join(f"{line}\n" for line in _indented(lines))
    return (
        f"CREATE FUNCTION {head} LANGUAGE plpgsql {kind} AS $sync$\n"
        f"{'DECLARE' + chr(10) + declared if declared else ''}BEGIN\n{body}END $sync$;\n"
    )
