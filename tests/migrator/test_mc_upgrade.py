"""mc from 1.0.0 to 1.1.0 on 100,000 rows, forwards and back, with both versions writing."""

import uuid

from tests.migrator.conftest import MANY_ROWS
from tests.migrator.plane import Plane
from tests.migrator.writers import Writer, acknowledged, writing

LONGEST_WRITE_SECONDS = 3.0
"""Far above what a write takes here; a lock held through the backfill would still show."""

AS_ONE = "CASE WHEN owner_email = '' THEN owner_name ELSE owner_name || ' <' || owner_email || '>' END"
"""The new shape told in the form of the old one, without the functions that the migration brings."""


def test_both_versions_write_from_expand_to_contract_and_no_row_is_lost(large: Plane) -> None:
    untouched = owners(large, "owner")
    first, second, third, fourth, fifth = shares(large, 5)
    old = [Writer(large.url, "1.0", first), Writer(large.url, "1.0", second)]
    new = [Writer(large.url, "1.1", third), Writer(large.url, "1.1", fourth)]
    after = Writer(large.url, "1.1", fifth)

    with writing(*old):
        expanded = large.done("expand", "1.0.0", "1.1.0")
        with writing(*new):
            migrated = large.done("migrate", "1.0.0", "1.1.0")
            looked = large.done("inspect", "1.0.0", "1.1.0")
    acked = acknowledged(*old, *new)

    assert (expanded["state"], migrated["state"], looked["state"]) == ("expanded", "migrated", "migrated")
    assert migrated["divergence"] == looked["divergence"] == 0
    # The writers have filled some of their rows themselves, by the triggers; what they published before these were
    # there has been filled for them.
    published = sum(writer.published for writer in old)
    assert MANY_ROWS - len(acked) <= migrated["rowsDone"] <= MANY_ROWS + published
    expected = untouched | acked
    assert owners(large, "owner") == expected
    assert owners(large, AS_ONE) == expected

    with writing(after):
        contracted = large.done("contract", "1.0.0", "1.1.0")
    assert contracted["state"] == "contracted"
    assert owners(large, AS_ONE) == expected | acknowledged(after)
    assert not large.value(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'executions'::regclass AND NOT tgisinternal"
    )
    assert max(writer.longest_seconds for writer in (*old, *new, after)) < LONGEST_WRITE_SECONDS


def test_what_the_new_version_wrote_is_still_there_after_a_backout(medium: Plane) -> None:
    blue = medium.schema()
    untouched = owners(medium, "owner")
    first, second = shares(medium, 2)
    old, new = Writer(medium.url, "1.0", first), Writer(medium.url, "1.1", second)

    medium.done("expand", "1.0.0", "1.1.0")
    with writing(old, new):
        medium.done("migrate", "1.0.0", "1.1.0")
    back = Writer(medium.url, "1.0", first)
    with writing(back):
        answer = medium.done("backout", "1.0.0", "1.1.0")

    assert answer["state"] == "backed-out"
    assert medium.schema() == blue
    assert owners(medium, "owner") == untouched | acknowledged(old, new) | acknowledged(back)


def test_the_new_version_works_on_the_expanded_but_unmigrated_schema(small: Plane) -> None:
    small.done("expand", "1.0.0", "1.1.0")
    key = small.value("SELECT id FROM executions WHERE owner LIKE 'Ada%' LIMIT 1")

    small.execute(f"UPDATE executions SET owner_email = 'new@example.org' WHERE id = '{key}'")
    name = small.value(f"SELECT owner_name FROM executions WHERE id = '{key}'")
    assert small.value(f"SELECT owner FROM executions WHERE id = '{key}'") == f"{name} <new@example.org>"

    small.execute(
        "INSERT INTO executions (id, tenant, name, owner_name) VALUES (gen_random_uuid(), 't', 'only', 'Bob')"
    )
    assert small.value("SELECT owner FROM executions WHERE name = 'only'") == "Bob"

    small.execute("UPDATE executions SET state = 'running', started_at = now()")
    assert small.done("inspect", "1.0.0", "1.1.0")["divergence"] == 0, "a write to any column fills the row"


def test_a_bootstrapped_schema_is_the_one_that_an_upgrade_ends_in(blank: Plane, small: Plane) -> None:
    for verb in ("expand", "migrate", "contract"):
        small.done(verb, "1.0.0", "1.1.0")

    answer = blank.done("expand", "", "1.1.0", upgrade="u0")

    assert answer["state"] == "expanded"
    assert blank.schema() == small.schema()
    known = {"1.0.0": "contracted", "1.1.0": "contracted"}
    assert blank.done("inspect", "", "1.1.0")["versions"] == known
    assert small.done("inspect", "", "1.1.0")["versions"] == known


def test_versions_that_only_change_code_have_nothing_to_do(small: Plane) -> None:
    for verb in ("expand", "migrate", "contract", "backout", "inspect"):
        answer = small.done(verb, "1.1.0", "1.2.0-bad", upgrade="u2")
        assert answer["state"] == "not-applicable"
    assert [event for event in small.events() if event[1] == "started"] == [("expand", "started", None, None)]


def shares(plane: Plane, parts: int) -> list[list[uuid.UUID]]:
    """Rows for `parts` writers to change, none for two of them."""
    with plane.connection() as connection:
        keys = [
            row[0]
            for row in connection.execute("SELECT id FROM executions ORDER BY id LIMIT 4000").fetchall()
        ]
    return [keys[part::parts] for part in range(parts)]


def owners(plane: Plane, expression: str) -> dict[uuid.UUID, str]:
    with plane.connection() as connection:
        return dict(connection.execute(f"SELECT id, {expression} FROM executions".encode()).fetchall())
