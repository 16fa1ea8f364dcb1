"""The files of a version, as `sync.toml` makes them: expand, migrate, online, divergence, contract and backout."""

from collections.abc import Mapping, Sequence

from migrator.sync import Sync
from migrator.sync_functions import (
    differ,
    function,
    functions_sql,
    literal,
    quoted,
    sentence,
    signatures,
    table,
    triggers,
    triggers_sql,
)

MADE = "-- From here on made of sync.toml.\n"


def sync_scripts(syncs: Sequence[Sync]) -> Mapping[str, str]:
    """By file name. Migrate and divergence are one statement each, over all entries."""
    made = {
        "expand.sql": MADE + "\n".join(map(_expand, syncs)),
        "migrate.sql": _migrate(syncs),
        "online.sql": _online(syncs),
        "divergence.sql": _divergence(syncs),
        "contract.sql": MADE + "\n".join(map(_contract, syncs)),
        "backout.sql": MADE + "\n".join(map(_backout, syncs)),
    }
    return {name: text for name, text in made.items() if text}


def _expand(sync: Sync) -> str:
    """The lock on the table is asked for last, for catalogue changes alone."""
    added = [f"ADD COLUMN {quoted(new.column)} {new.type}" for new in sync.new]
    if _required(sync):
        present = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in _required(sync))
        # Holds for what is written from now on, which the trigger has filled by then; contract validates it.
        added.append(f"ADD CONSTRAINT {_present(sync)} CHECK ({present}) NOT VALID")
    return (
        f"{_preconditions(sync)}\n{functions_sql(sync)}\n"
        f"ALTER TABLE {table(sync)}\n    {(',' + chr(10) + '    ').join(added)};\n{triggers_sql(sync)}"
    )


def _preconditions(sync: Sync) -> str:
    """What the file says of the table, held against the table; RAISE's sentence is all that the runner shows."""
    keys = ", ".join(literal(name) for name in sync.key)
    about = f"sync.toml, {sync.table}.{sync.old}"
    checks = [
        (
            "at_hand.attnum IS NULL",
            f"{about}: there is no such column",
        ),
        (
            f"at_hand.atttypid <> {literal(sync.old_type)}::regtype",
            f"{about}: its type is not {sync.old_type}; say what it is in old_type",
        ),
        (
            "at_hand.attgenerated <> '' OR at_hand.attidentity <> ''",
            f"{about}: PostgreSQL makes its values; write expand.sql by hand",
        ),
        (
            "at_hand.atthasdef AND NOT at_hand.attnotnull",
            f"{about}: it has a default and may be NULL, so that a NULL of the new version could not be told from "
            "nothing; drop the default, or write expand.sql by hand",
        ),
        (
            "NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = at_hand.attrelid AND i.indisunique AND i.indisvalid"
            " AND i.indpred IS NULL AND i.indnkeyatts = cardinality(key)"
            " AND key = (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a"
            " WHERE a.attrelid = i.indrelid AND a.attnotnull AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])))",
            f"{about}: key is not the table's primary key; name its columns",
        ),
    ]
    if _required(sync):
        checks.append(
            ("NOT at_hand.attnotnull", f"{about}: it may be NULL, the new columns cannot be required")
        )
    tests = "".join(
        f"    IF {condition} THEN RAISE EXCEPTION {sentence(said)}; END IF;\n" for condition, said in checks
    )
    return (
        "DO $sync$\nDECLARE\n    at_hand pg_attribute;\n"
        f"    key text[] := (SELECT array_agg(name ORDER BY name) FROM unnest(ARRAY[{keys}]) AS name);\nBEGIN\n"
        f"    SELECT * INTO at_hand FROM pg_attribute WHERE attrelid = {literal(table(sync))}::regclass\n"
        f"        AND attname = {literal(sync.old)} AND NOT attisdropped;\n{tests}END $sync$;\n"
    )


def _migrate(syncs: Sequence[Sync]) -> str:
    """The cursor is `<entry>:<key as JSON>`; one entry's page is empty when it is the turn of the next."""
    parts = [
        "at AS MATERIALIZED (\n"
        "    SELECT coalesce(nullif(split_part(said, ':', 1), ''), '0')::integer AS entry,\n"
        "           nullif(substr(said, strpos(said, ':') + 1), '')::jsonb AS after\n"
        "    FROM current_setting('maestro_conductor.cursor') AS said\n)"
    ]
    rows, cursors = [], []
    for number, sync in enumerate(syncs):
        parts.append(_batch(number, sync))
        filled = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in sync.columns)
        rows.append(f"WHEN {number} THEN (SELECT count(*) FROM filled_{number} WHERE {filled})")
        key = ", ".join(f"{literal(name)}, {quoted(name)}" for name in sync.key)
        following = literal(f"{number + 1}:") if number + 1 < len(syncs) else "NULL"
        cursors.append(
            f"WHEN {number} THEN coalesce((SELECT '{number}:' || jsonb_build_object({key})::text FROM page_{number}"
            f" ORDER BY {_ordered(sync, 'DESC')} LIMIT 1), {following})"
        )
    return (
        f"-- Made of sync.toml: the trigger fills each row, as it does for any other write.\nWITH {', '.join(parts)}\n"
        f"SELECT CASE entry {' '.join(rows)} END AS rows,\n"
        f"       CASE entry {' '.join(cursors)} END AS cursor\nFROM at;\n"
    )


def _batch(number: int, sync: Sync) -> str:
    """Pages are ranges of the key, never joins with the table: what a batch costs must not grow with it."""
    name, key = table(sync), ", ".join(map(quoted, sync.key))
    limit = "LIMIT current_setting('maestro_conductor.batch_rows')::integer"
    after = f"CASE WHEN entry = {number} THEN after END"
    reached = [
        f"(SELECT (jsonb_populate_record(NULL::{name}, {after})).{quoted(column)} FROM at)"
        for column in sync.key
    ]
    first, last = (
        [
            f"(SELECT {quoted(column)} FROM page_{number} ORDER BY {_ordered(sync, way)} LIMIT 1)"
            for column in sync.key
        ]
        for way in ("ASC", "DESC")
    )
    columns = [f"t.{quoted(column)}" for column in sync.key]
    within = f"{_compared(columns, '>=', first)} AND {_compared(columns, '<=', last)}"
    unfilled = " AND ".join(
        [f"t.{quoted(sync.old)} IS NOT NULL", *(f"t.{quoted(column)} IS NULL" for column in sync.columns)]
    )
    joined = " AND ".join(f"t.{quoted(column)} = w.{quoted(column)}" for column in sync.key)
    order = ", ".join(columns)
    return (
        f"page_{number} AS MATERIALIZED (\n"
        f"    (SELECT {key} FROM {name} AS t WHERE (SELECT entry = {number} AND after IS NULL FROM at)\n"
        f"        ORDER BY {order} {limit})\n"
        f"    UNION ALL\n"
        f"    (SELECT {key} FROM {name} AS t WHERE (SELECT entry = {number} FROM at)\n"
        f"        AND {_compared(columns, '>', reached)} ORDER BY {order} {limit})\n"
        f"), waiting_{number} AS MATERIALIZED (\n"
        f"    SELECT {key} FROM {name} AS t WHERE {within} AND {unfilled} ORDER BY {order} FOR UPDATE\n"
        f"), filled_{number} AS (\n"
        f"    UPDATE {name} AS t SET {quoted(sync.old)} = t.{quoted(sync.old)} FROM waiting_{number} AS w\n"
        f"    WHERE {joined} AND {within} RETURNING {', '.join(f't.{quoted(column)}' for column in sync.columns)}\n)"
    )


def _divergence(syncs: Sequence[Sync]) -> str:
    """Both ways: the new columns make up the old one, and the old one splits into the new ones."""
    counts = []
    for sync in syncs:
        split = [f"sync_{number}" for number in range(1, len(sync.new) + 1)]
        new = [f"t.{quoted(name)}" for name in sync.columns]
        join = f"{function(sync, 'join')}({', '.join(new)})"
        unlike = [
            differ(f"t.{quoted(sync.old)}", join),
            *(differ(a, f"s.{b}") for a, b in zip(new, split, strict=True)),
        ]
        counts.append(
            f"(SELECT count(*) FROM {table(sync)} AS t \n"
            f"    CROSS JOIN LATERAL {function(sync, 'split')}(t.{quoted(sync.old)}) AS s\n"
            f"    WHERE {' OR '.join(unlike)})"
        )
    return f"-- Made of sync.toml.\nSELECT {' + '.join(counts)};\n"


def _online(syncs: Sequence[Sync]) -> str:
    """Reads the whole table under a lock that stops nobody; SET NOT NULL then needs no look at the rows."""
    return "".join(
        f"ALTER TABLE {table(sync)} VALIDATE CONSTRAINT {_present(sync)};\n"
        for sync in syncs
        if _required(sync)
    )


def _contract(sync: Sync) -> str:
    changes = [f"ALTER COLUMN {quoted(name)} SET NOT NULL" for name in _required(sync)]
    changes += [
        f"ALTER COLUMN {quoted(new.column)} SET DEFAULT {literal(new.absent)}"
        for new in sync.new
        if new.absent is not None
    ]
    changes.append(f"DROP COLUMN {quoted(sync.old)}")
    # By itself, afterwards: dropped in the same statement it would no longer prove NOT NULL, and all rows be read.
    proof = f"ALTER TABLE {table(sync)} DROP CONSTRAINT {_present(sync)};\n" if _required(sync) else ""
    return (
        f"{_drop_triggers(sync)}{_inherited_default(sync)}"
        f"ALTER TABLE {table(sync)}\n    {(',' + chr(10) + '    ').join(changes)};\n{proof}{_drop_functions(sync)}"
    )


def _inherited_default(sync: Sync) -> str:
    """A column that takes the place of one other takes its default too: the trigger gave it until now."""
    if len(sync.new) > 1 or sync.format is not None or sync.new[0].absent is not None:
        return ""
    new = sync.new[0]
    begins = f"ALTER TABLE {table(sync)} ALTER COLUMN {quoted(new.column)} SET DEFAULT ("
    return (
        "DO $sync$\nDECLARE\n    given text;\nBEGIN\n"
        "    SELECT pg_get_expr(d.adbin, d.adrelid) INTO given FROM pg_attrdef d JOIN pg_attribute a\n"
        "        ON a.attrelid = d.adrelid AND a.attnum = d.adnum\n"
        f"        WHERE a.attrelid = {literal(table(sync))}::regclass AND a.attname = {literal(sync.old)};\n"
        "    IF given IS NOT NULL THEN\n"
        f"        EXECUTE {literal(begins)} || given\n"
        f"            || {literal(f')::{new.type}')};\n    END IF;\nEND $sync$;\n"
    )


def _backout(sync: Sync) -> str:
    """The old column was kept true all the time, so nothing has to be copied."""
    dropped = [f"DROP CONSTRAINT IF EXISTS {_present(sync)}"] if _required(sync) else []
    dropped += [f"DROP COLUMN IF EXISTS {quoted(name)}" for name in sync.columns]
    changes = f"ALTER TABLE {table(sync)}\n    {(',' + chr(10) + '    ').join(dropped)};\n"
    return f"{_drop_triggers(sync)}{changes}{_drop_functions(sync)}"


def _drop_triggers(sync: Sync) -> str:
    return "".join(f"DROP TRIGGER IF EXISTS {quoted(name)} ON {table(sync)};\n" for name in triggers(sync))


def _drop_functions(sync: Sync) -> str:
    return "".join(f"DROP FUNCTION IF EXISTS {signature};\n" for signature in signatures(sync))


def _required(sync: Sync) -> list[str]:
    return [new.column for new in sync.new if new.required]


def _present(sync: Sync) -> str:
    return quoted(f"{sync.prefix}_present")


def _ordered(sync: Sync, way: str) -> str:
    return ", ".join(f"{quoted(column)} {way}" for column in sync.key)


def _compared(columns: Sequence[str], sign: str, others: Sequence[str]) -> str:
    if len(columns) == 1:
        return f"{columns[0]} {sign} {others[0]}"
    return f"({', '.join(columns)}) {sign} ({', '.join(others)})"
