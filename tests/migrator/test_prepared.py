"""Persistent clients with server-side prepared statements, through expand, backfill and contract.

Named columns live through all of it. `SELECT *` does not, and so a phase that changes its columns is refused as long as
somebody connected reads so.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from tests.migrator.plane import Plane
from tests.migrator.test_refusals import says

from migrator.star_readers import changed_tables, reads_star_of

ADA = "Ada Lovelace <ada@example.org>"
STAR = "SELECT * FROM executions WHERE id = %s"
OLD = ("SELECT id, owner FROM executions WHERE id = %s", "UPDATE executions SET owner = %s WHERE id = %s")
NEW = (
    "SELECT id, owner_name, owner_email FROM executions WHERE id = %s",
    "UPDATE executions SET owner_name = %s WHERE id = %s RETURNING owner_email",
)
PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql IS NULL AND statement LIKE %s"


@contextmanager
def client(plane: Plane, name: str = "billing") -> Iterator[psycopg.Connection[Any]]:
    """One that keeps its connection, and prepares each statement at its first use."""
    with psycopg.connect(plane.url, autocommit=True, application_name=name) as connection:
        connection.prepare_threshold = 0
        yield connection


def some_id(plane: Plane) -> uuid.UUID:
    found: uuid.UUID = plane.value("SELECT id FROM executions ORDER BY id LIMIT 1")
    return found


def read_and_write(connection: psycopg.Connection[Any], statements: tuple[str, str], key: uuid.UUID) -> None:
    read, write = statements
    assert connection.execute(read, (key,)).fetchone() is not None
    assert connection.execute(write, ("Grace Hopper", key)).rowcount == 1
    row = connection.execute(PREPARED, (read.replace("%s", "$1"),)).fetchone()
    assert row == (1,), "it is prepared on the server, from before the phase"


def test_prepared_statements_that_name_their_columns_live_through_every_phase(small: Plane) -> None:
    key = some_id(small)
    with client(small, "mc 1.0") as old, client(small, "mc 1.1") as new:
        read_and_write(old, OLD, key)
        small.done("expand", "1.0.0", "1.1.0")
        read_and_write(old, OLD, key)
        read_and_write(new, NEW, key)
        small.done("migrate", "1.0.0", "1.1.0")
        read_and_write(old, OLD, key)
        read_and_write(new, NEW, key)
        # The old version is gone by then.
        small.done("contract", "1.0.0", "1.1.0")
        read_and_write(new, NEW, key)


def test_a_prepared_star_refuses_expand_with_the_mend_and_goes_on_working(small: Plane) -> None:
    key, before = some_id(small), small.schema()
    with client(small) as reader:
        reader.execute(STAR, (key,))
        refused = small.run("expand", "1.0.0", "1.1.0")
        says(
            refused,
            1,
            "StarReaders",
            "1.1.0/expand.sql",
            "billing at the primary reads * of executions",
            "cached plan must not change result type",
            "name the columns",
        )
        assert str(key) not in refused.output, "no text of a statement"
        assert small.schema() == before
        for _ in range(3):
            assert reader.execute(STAR, (key,)).fetchone() is not None

        reader.execute(OLD[0], (key,))
        small.done("expand", "1.0.0", "1.1.0", attempt="2")


def test_with_a_warning_alone_the_prepared_star_ends_as_was_said(small: Plane) -> None:
    """What is refused is no superstition."""
    key = some_id(small)
    small.settings["MIGRATOR_STAR_READERS"] = "warn"
    with client(small) as reader:
        reader.execute(STAR, (key,))
        told = small.run("expand", "1.0.0", "1.1.0")
        assert told.exit_code == 0
        assert "clients read * of what changes" in told.output
        for _ in range(2):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="must not change result type"):
                reader.execute(STAR, (key,))


def test_contract_is_refused_for_the_new_version_s_star(small: Plane) -> None:
    key = some_id(small)
    for verb in ("expand", "migrate"):
        small.done(verb, "1.0.0", "1.1.0")
    with client(small, "mc 1.1") as reader:
        reader.execute("UPDATE executions AS e SET name = name WHERE id = %s RETURNING e.*", (key,))
        says(small.run("contract", "1.0.0", "1.1.0"), 1, "StarReaders", "1.1.0/contract.sql", "mc 1.1")
    assert small.value("SELECT count(*) FROM maestro_conductor.permits") == 0, "the permit was not spent"
    small.done("contract", "1.0.0", "1.1.0", attempt="2")


def test_a_star_over_a_view_that_names_its_columns_lives_on(small: Plane) -> None:
    small.execute("CREATE VIEW known AS SELECT id, name FROM executions")
    key = some_id(small)
    with client(small) as reader:
        for verb in ("expand", "migrate", "contract"):
            assert reader.execute("SELECT * FROM known WHERE id = %s", (key,)).fetchone() is not None
            small.done(verb, "1.0.0", "1.1.0")
        assert reader.execute("SELECT * FROM known WHERE id = %s", (key,)).fetchone() is not None


def test_people_at_a_prompt_refuse_nothing(small: Plane) -> None:
    with client(small, "psql") as by_hand:
        by_hand.execute("SELECT * FROM executions LIMIT 1")
        small.done("expand", "1.0.0", "1.1.0")


def test_statements_that_this_role_may_not_see_are_unknown_and_not_none(blank: Plane) -> None:
    lone = blank.of_plain_owner("lone_owner")
    lone.write_files(
        {
            "1.0.0/expand.sql": "CREATE TABLE t (n integer)",
            "1.1.0/expand.sql": "ALTER TABLE t ADD COLUMN a text",
        }
    )
    lone.done("expand", "", "1.0.0", upgrade="u0")
    with client(blank) as reader:
        reader.execute("SELECT * FROM t")
        outcome = lone.run("expand", "1.0.0", "1.1.0")
    assert outcome.exit_code == 0, outcome.output
    assert "hidden, whether they read * is unknown" in outcome.output
    assert "GRANT pg_read_all_stats" in outcome.output


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("ALTER TABLE t ADD COLUMN a text", {"t"}),
        ("alter table if exists only public.t add a text", {"t"}),
        ('ALTER TABLE "My ""T""" DROP COLUMN a, ADD CONSTRAINT c CHECK (a > 0)', {'My "T"'}),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID; ALTER TABLE u ALTER a SET NOT NULL", set()),
        ("CREATE TABLE t (a text); -- ALTER TABLE u ADD COLUMN b text", set()),
    ],
)
def test_which_tables_change_their_columns(text: str, tables: set[str]) -> None:
    assert changed_tables(text) == tables


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("SELECT * FROM t WHERE a = $1", True),
        ("select distinct * from public.t", True),
        ("SELECT t.* FROM t JOIN u USING (a)", True),
        ('SELECT x.a, "x".* FROM "t" AS x', True),
        ("INSERT INTO t (a) VALUES ($1) RETURNING *", True),
        ("SELECT a, b FROM t", False),
        ("SELECT count(*) FROM t", False),
        ("SELECT a * 2, b*c FROM t", False),
        ("SELECT 1 WHERE EXISTS (SELECT * FROM t)", False),
        ("SELECT * FROM other", False),
        ("SELECT a /* was * */ FROM t WHERE b = 'select * from t'", False),
    ],
)
def test_which_statements_answer_all_columns(query: str, seen: bool) -> None:
    assert (reads_star_of(query, {"t"}) == "t") is seen
