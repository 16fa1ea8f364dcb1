"""Upgrades whose files are made of sync.toml, by the runner, on a real PostgreSQL, with both versions writing."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.migrator.plane import MC_MIGRATIONS, Plane
from tests.migrator.server import Server
from tests.migrator.test_lint_text import write
from tests.migrator.writers import Writer, acknowledged, writing

from migrator.lint.command import CLEAN, main

MC_SYNC = """
[[sync]]
table = "executions"
key = ["id"]
old = "owner"
format = "{owner_name} <{owner_email}>"
whole = "owner_name"

[[sync.new]]
column = "owner_name"
required = true

[[sync.new]]
column = "owner_email"
absent = ""
required = true
"""
SUM = "SELECT md5(string_agg(id::text || {}, ',' ORDER BY id)) FROM executions"
JOINED = "CASE WHEN owner_email = '' THEN owner_name ELSE owner_name || ' <' || owner_email || '>' END"

ORDERS = """
CREATE TABLE "Orders" (
    shop text, number bigint, "full Name" text, state integer NOT NULL DEFAULT 3, PRIMARY KEY (shop, number)
);
INSERT INTO "Orders" SELECT 'shop ' || n % 3, n, nullif('first' || n || ' last', 'first5 last'), n
    FROM generate_series(1, 40) n;
CREATE TABLE notes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), note text);
INSERT INTO notes (note) SELECT 'note ' || n FROM generate_series(1, 25) n;
"""
ORDERS_SYNC = """
[[sync]]
table = "Orders"
key = ["shop", "number"]
old = "full Name"
name = "orders_name"
format = "{first} {last}"
new = [{ column = "first" }, { column = "last" }]

[[sync]]
table = "Orders"
key = ["shop", "number"]
old = "state"
old_type = "integer"
new = [{ column = "wide_state", type = "bigint", required = true }]
old_unfit = "refuse"

[[sync]]
table = "notes"
key = ["id"]
old = "note"
new = [{ column = "remark" }]
"""


def with_sync(plane: Plane) -> None:
    """mc's own 1.0.0, and sync.toml in place of its 1.1.0."""
    plane.migrations = plane.folder / "migrations"
    shutil.copytree(MC_MIGRATIONS / "1.0.0", plane.migrations / "1.0.0")
    (plane.migrations / "1.1.0").mkdir()
    (plane.migrations / "1.1.0" / "sync.toml").write_text(MC_SYNC)


def keys(plane: Plane, count: int) -> list[Any]:
    with plane.connection() as connection:
        rows = connection.execute("SELECT id FROM executions ORDER BY id LIMIT %s", (count,)).fetchall()
    return [row[0] for row in rows]


def test_mc_is_upgraded_by_sync_toml_while_both_versions_write_and_no_row_is_lost(medium: Plane) -> None:
    with_sync(medium)
    medium.settings = {"MIGRATOR_BATCH_ROWS": "1000", "MIGRATOR_PAUSE_MS": "5"}
    some = keys(medium, 600)
    old, new = Writer(medium.url, "1.0", some[::2]), Writer(medium.url, "1.1", some[1::2])

    with writing(old):
        medium.done("expand", "1.0.0", "1.1.0")
        with writing(new):
            migrated = medium.done("migrate", "1.0.0", "1.1.0")

    assert (migrated["state"], migrated["divergence"]) == ("migrated", 0)
    assert migrated["rowsDone"] > 1000, "most rows were filled by the backfill, not by the writers"
    assert medium.value(SUM.format("owner")) == medium.value(SUM.format(JOINED))
    with medium.connection() as connection:
        stored = dict(connection.execute("SELECT id, owner FROM executions").fetchall())
    acked = acknowledged(old, new)
    assert {key: stored.get(key) for key in acked} == acked
    before = medium.value(SUM.format("owner"))
    medium.done("contract", "1.0.0", "1.1.0")
    assert medium.value(SUM.format(JOINED)) == before


def test_it_ends_in_the_same_schema_as_mc_s_own_files_and_backs_out_to_the_one_before(
    small: Plane, blank: Plane
) -> None:
    before = small.schema()
    blank.done("expand", "", "1.1.0", upgrade="u0")
    with_sync(small)
    for verb in ("expand", "migrate", "backout"):
        small.done(verb, "1.0.0", "1.1.0")
    assert small.schema() == before

    for verb in ("expand", "migrate", "contract"):
        small.done(verb, "1.0.0", "1.1.0", upgrade="u2")
    assert small.schema() == blank.schema()


def test_several_tables_wide_keys_and_what_does_not_fit(blank: Plane) -> None:
    """Batches of seven over three entries; the one row without a separator is reported until somebody mends it."""
    blank.settings = {"MIGRATOR_BATCH_ROWS": "7", "MIGRATOR_PAUSE_MS": "1", "MIGRATOR_BACKOFF_MS": "1"}
    blank.write_files({"1.0.0/expand.sql": ORDERS, "1.1.0/sync.toml": ORDERS_SYNC})
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("""INSERT INTO "Orders" VALUES ('shop 9', 99, 'mononym')""")
    blank.done("expand", "1.0.0", "1.1.0")

    refused = blank.run("migrate", "1.0.0", "1.1.0")
    assert (refused.reason, refused.answer["divergence"]) == ("DivergenceLeft", 1)
    assert refused.exit_code == 1
    blank.execute("""UPDATE "Orders" SET first = 'mono', last = 'nym' WHERE number = 99""")
    migrated = blank.done("migrate", "1.0.0", "1.1.0")

    # Twice over the same 41 rows, for its two entries; the row that did not fit was filled by hand.
    assert migrated["rowsDone"] >= 39 + 25
    assert blank.value("""SELECT "full Name" FROM "Orders" WHERE number = 99""") == "mono nym"
    assert blank.value("""SELECT count(*) FROM "Orders" WHERE wide_state = state""") == 41
    assert blank.value("""SELECT count(*) FROM "Orders" WHERE first || ' ' || last = "full Name" """) == 40
    assert blank.value("SELECT count(*) FROM notes WHERE remark = note") == 25
    blank.done("contract", "1.0.0", "1.1.0")
    blank.execute("""INSERT INTO "Orders" (shop, number) VALUES ('shop 9', 100)""")
    assert blank.value("""SELECT wide_state FROM "Orders" WHERE number = 100""") == 3, (
        "the old column's default"
    )
    assert blank.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'zz%'") == 0
    assert blank.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("CREATE TABLE t (id bigint PRIMARY KEY, b text)", "there is no such column"),
        ("CREATE TABLE t (id bigint PRIMARY KEY, a integer)", "its type is not text"),
        ("CREATE TABLE t (id bigint PRIMARY KEY, a text DEFAULT 'x')", "it has a default and may be NULL"),
        ("CREATE TABLE t (id bigint, a text)", "key is not the table's primary key"),
        (
            "CREATE TABLE t (id bigint PRIMARY KEY, a text GENERATED ALWAYS AS ('x') STORED)",
            "makes its values",
        ),
    ],
)
def test_a_table_that_is_not_as_the_file_says_is_refused_with_the_mend(
    blank: Plane, table: str, said: str
) -> None:
    sync = '[[sync]]\ntable = "t"\nkey = ["id"]\nold = "a"\nnew = [{ column = "c" }]'
    blank.write_files({"1.0.0/expand.sql": table, "1.1.0/sync.toml": sync})
    blank.done("expand", "", "1.0.0", upgrade="u0")

    refused = blank.run("expand", "1.0.0", "1.1.0")

    assert (refused.exit_code, refused.reason) == (1, "SqlFailed")
    assert said in refused.answer["message"]


def test_what_sync_toml_makes_passes_lint_and_its_rehearsal(
    server: Server, small: Plane, tmp_path: Path
) -> None:
    with_sync(small)
    orders = tmp_path / "orders"
    write(orders, {"1.0.0/expand.sql": ORDERS, "1.1.0/sync.toml": ORDERS_SYNC})
    for folder in (small.migrations, orders):
        out = io.StringIO()
        assert main([str(folder), "--dsn", server.url("postgres")], {}, out) == CLEAN, out.getvalue()
        assert "0 refused, 0 warnings, 0 waived; rehearsed" in out.getvalue()


def test_a_faulty_sync_toml_and_a_second_backfill_are_refused_before_anything_is_touched(
    small: Plane,
) -> None:
    for files, said in (
        ({"1.1.0/sync.toml": "[[sync]]\ntable = 1"}, "1.1.0/sync.toml: sync.0.table"),
        (
            {"1.1.0/sync.toml": MC_SYNC, "1.1.0/migrate.sql": "SELECT 1"},
            "1.1.0/migrate.sql stands beside sync.toml",
        ),
    ):
        small.write_files(files)
        refused = small.run("expand", "1.0.0", "1.1.0")
        assert (refused.reason, refused.answer["untouched"]) == ("FilesInvalid", True)
        assert said in refused.answer["message"]


def test_the_digest_is_of_what_people_wrote(small: Plane) -> None:
    """A newer runner that makes other SQL of the same file does not stop an upgrade half-way."""
    with_sync(small)
    small.done("expand", "1.0.0", "1.1.0")
    (small.migrations / "1.1.0" / "sync.toml").write_text(MC_SYNC + "# said otherwise\n")
    assert small.run("migrate", "1.0.0", "1.1.0").reason == "DigestChanged"
