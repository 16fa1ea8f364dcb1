"""Indexes that are built beside the users, and the repair of those that a build left invalid."""

import pytest
from tests.migrator.plane import Plane
from tests.migrator.test_refusals import says

from migrator.online_text import Index, online_faults, online_steps
from migrator.sqltext import script_faults

ONLINE = """-- for green's search
CREATE INDEX CONCURRENTLY IF NOT EXISTS told_second ON told (lower(second), n) WHERE second IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY "Told Unique" ON public.told (second);
ALTER TABLE told VALIDATE CONSTRAINT told_second_there;
"""
FILES = {
    "1.0.0/expand.sql": "CREATE TABLE told (n integer PRIMARY KEY, what text NOT NULL);",
    "1.1.0/expand.sql": "ALTER TABLE told ADD COLUMN second text,"
    " ADD CONSTRAINT told_second_there CHECK (second IS NOT NULL) NOT VALID;",
    "1.1.0/migrate.sql": "UPDATE told SET second = what WHERE second IS NULL",
    "1.1.0/online.sql": ONLINE,
    "1.1.0/divergence.sql": "SELECT count(*) FROM told WHERE second IS DISTINCT FROM what",
    "1.1.0/backout.sql": "ALTER TABLE told DROP COLUMN second;",
}
VALID = (
    "SELECT array_agg(c.relname || ' ' || i.indisvalid ORDER BY c.relname) FROM pg_index i"
    " JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'told'::regclass AND NOT i.indisprimary"
)
BOTH = ["Told Unique true", "told_second true"]
ABOUT = (
    "SELECT array_agg(event || ' ' || object ORDER BY seq) FROM maestro_conductor.events WHERE object <> ''"
)


@pytest.fixture
def told(blank: Plane) -> Plane:
    blank.write_files(FILES)
    blank.done("expand", "", "1.0.0", upgrade="u0")
    blank.execute("INSERT INTO told SELECT n, 'w' || n FROM generate_series(1, 25) AS n")
    blank.done("expand", "1.0.0", "1.1.0")
    blank.settings = {"MIGRATOR_BACKOFF_MS": "20", "MIGRATOR_TRIES": "3"}
    return blank


def test_indexes_and_validations_come_after_the_backfill_and_are_told(told: Plane) -> None:
    told.done("migrate", "1.0.0", "1.1.0")
    assert told.value(VALID) == BOTH
    assert told.value("SELECT convalidated FROM pg_constraint WHERE conname = 'told_second_there'")
    assert told.value(ABOUT) == [
        *("intent told_second", "performed told_second", "intent Told Unique", "performed Told Unique"),
        "performed told_second_there",
    ]
    told.write_files({"1.1.0/online.sql": ONLINE + "\n"})
    says(told.run("contract", "1.0.0", "1.1.0"), 1, "DigestChanged", "1.1.0/online.sql")


def test_an_index_that_a_killed_build_left_invalid_is_built_anew(told: Plane) -> None:
    with told.connection() as writer, writer.transaction():
        # What a concurrent build waits for: a transaction that may have written to the table before.
        writer.execute("LOCK TABLE told IN ROW EXCLUSIVE MODE")
        runner = told.start("migrate", "1.0.0", "1.1.0")
        told.wait_for(
            f"{VALID[:7]} count(*) FROM pg_index WHERE NOT indisvalid", lambda n: n == 1, "the build"
        )
        runner.kill()
        told.value("SELECT pg_terminate_backend(backend_pid) FROM maestro_conductor.fence")
    assert told.value(VALID) == ["told_second false"]
    done = told.run("migrate", "1.0.0", "1.1.0", attempt="2")
    assert done.exit_code == 0, done.output
    assert "invalid index dropped" in done.output
    assert told.value(VALID) == BOTH


def test_a_build_that_waits_too_long_leaves_nothing_behind_and_is_worth_another_try(told: Plane) -> None:
    told.settings["MIGRATOR_ONLINE_LOCK_TIMEOUT_MS"] = "100"
    with told.connection() as writer, writer.transaction():
        writer.execute("LOCK TABLE told IN ROW EXCLUSIVE MODE")
        says(told.run("migrate", "1.0.0", "1.1.0"), 2, "LockNotGranted", "100 ms", "pg_stat_activity")
    del told.settings["MIGRATOR_ONLINE_LOCK_TIMEOUT_MS"]
    assert told.done("migrate", "1.0.0", "1.1.0", attempt="2")["state"] == "migrated"
    assert told.value(VALID) == BOTH


def test_rows_that_are_not_unique_are_told_and_no_invalid_index_stays(told: Plane) -> None:
    told.execute("UPDATE told SET what = 'w1', second = 'w1' WHERE n = 2")
    refused = told.run("migrate", "1.0.0", "1.1.0")
    says(refused, 1, "SqlFailed", "1.1.0/online.sql line 3", 'unique index "Told Unique"')
    assert told.value(VALID) == ["told_second true"]
    told.execute("UPDATE told SET what = 'w2', second = 'w2' WHERE n = 2")
    assert told.done("migrate", "1.0.0", "1.1.0", attempt="2")["state"] == "migrated"


def test_one_that_somebody_built_before_is_taken_if_it_is_the_same(told: Plane) -> None:
    told.execute("CREATE INDEX told_second ON told USING btree (lower(second), n) WHERE second IS NOT NULL")
    told.execute('CREATE INDEX "Told Unique" ON told (second)')
    refused = told.run("migrate", "1.0.0", "1.1.0")
    says(refused, 1, "ObjectDiffers", "Told Unique", "btree (second)", "another name")
    assert "intent told_second" not in (told.value(ABOUT) or [])
    told.execute('ALTER INDEX "Told Unique" RENAME TO other; CREATE TABLE "Told Unique" ()')
    says(told.run("migrate", "1.0.0", "1.1.0"), 1, "ObjectDiffers", "is no index on public.told")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("CREATE INDEX i ON told (n)", "online.sql line 1: is neither"),
        ("CREATE INDEX CONCURRENTLY ON told (n)", "with a name"),
        ("DROP INDEX CONCURRENTLY i", "is neither"),
        (f"CREATE INDEX CONCURRENTLY {'i' * 64} ON told (n)", "63 bytes"),
        ("CREATE INDEX CONCURRENTLY i ON nowhere (n)", "no table nowhere"),
    ],
)
def test_what_does_not_belong_there_is_refused(told: Plane, text: str, part: str) -> None:
    told.write_files({"1.1.0/online.sql": text})
    refused = told.run("migrate", "1.0.0", "1.1.0")
    assert refused.exit_code == 1
    assert part in refused.answer["message"]
    assert told.value(VALID) is None


def test_names_are_read_as_postgresql_reads_them() -> None:
    steps = list(online_steps(ONLINE))
    assert [(step.name, step.table) for step in steps] == [
        *[("told_second", "told"), ("Told Unique", "public.told"), ("told_second_there", "told")]
    ]
    assert isinstance(steps[0], Index)
    assert "IF NOT EXISTS" not in steps[0].create()
    assert not list(online_faults(ONLINE))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("\\set ON_ERROR_STOP on\nSELECT 1;", "backslash command is for psql"),
        ("SELECT 1;\n\\i more.sql", "backslash command"),
        ("COPY told FROM stdin;\n1\tx\n\\.", "COPY FROM stdin"),
    ],
)
def test_what_only_psql_understands_is_refused_with_the_mend(text: str, part: str) -> None:
    faults = list(script_faults(text))
    assert part in faults[0].message
    assert not list(script_faults("SELECT E'\\\\', 'a\\b' -- \\i\n"))
