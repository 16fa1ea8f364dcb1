"""Standbys that waiting makes no better: of another server, and of another timeline. No step forward begins with one,
and the way back asks for none."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.migrator.plane import Plane
from tests.migrator.server import Server, running_server, streaming_standby
from tests.migrator.test_refusals import says
from tests.migrator.test_replicas import WAITS, of_server, order, wait_there

SYSTEM = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True)
class Chain:
    """Three servers of an initdb of their own: `second` streams from `first`, and `third` from `second`."""

    first: Server
    second: Server
    third: Server


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """With mc 1.0.0 in database mc; the last test promotes `second`."""
    with ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"migrator-{name}-")))
            for name in ("first", "second", "third", "bootstrap")
        ]
        first = stack.enter_context(running_server(folders[0]))
        Plane(first.create("mc"), folders[3]).done("expand", "", "1.0.0", upgrade="u0")
        second = stack.enter_context(streaming_standby(first, folders[1]))
        upstream = f"primary_conninfo={second.url('postgres')}"
        # A backup of `second` would need full_page_writes; of the same server, it may follow either.
        third = stack.enter_context(streaming_standby(first, folders[2], upstream))
        yield Chain(first, second, third)


def assert_no_step_begins_but_the_way_back_does(plane: Plane, named: str, reason: str, *words: str) -> None:
    """`named` is the URL in the release. Nobody waits for it: it is refused for good, and not after a minute."""
    before = plane.schema()
    for verb in ("expand", "migrate", "contract"):
        schema, lines = plane.schema(), plane.value("SELECT max(seq) FROM maestro_conductor.events")
        plane.settings["REPLICA_URL_1"] = named
        says(plane.run(verb, "1.0.0", "1.1.0"), 1, reason, *words)
        assert plane.schema() == schema
        assert plane.value("SELECT max(seq) FROM maestro_conductor.events") == lines, "nothing has begun"
        if verb != "contract":
            # So that the next step is the one which is refused.
            del plane.settings["REPLICA_URL_1"]
            plane.done(verb, "1.0.0", "1.1.0", attempt="2")
    assert plane.value("SELECT count(*) FROM maestro_conductor.permits") == 0
    says(plane.run("barrier", "1.0.0", "1.1.0"), 1, reason, *words)
    looked = plane.done("inspect", "1.0.0", "1.1.0")
    assert (looked["state"], looked["replicas"][0]["state"]) == ("migrated", reason)
    assert plane.done("backout", "1.0.0", "1.1.0")["state"] == "backed-out"
    assert plane.schema() == before


def test_a_standby_of_another_server_is_refused_before_anything_begins(small: Plane, chain: Chain) -> None:
    own, other = small.value(SYSTEM), of_server(chain.third, SYSTEM)
    assert str(own) != other
    assert_no_step_begins_but_the_way_back_does(
        small, chain.third.url("mc"), "ReplicaForeign",
        f"replica 127.0.0.1:{chain.third.port}/mc is of system {other}, the primary of {own}",
        "correct its URL, or make it anew from this primary",
    )  # fmt: skip


def test_what_somebody_does_on_a_foreign_standby_is_not_what_the_step_is_refused_for(
    small: Plane, chain: Chain
) -> None:
    small.settings["REPLICA_URL_1"] = chain.third.url("mc")
    with chain.third.connect("mc") as reader:
        reader.execute("SELECT * FROM executions LIMIT 1")
        says(small.run("expand", "1.0.0", "1.1.0"), 1, "ReplicaForeign")


def test_a_standby_on_another_timeline_is_refused_before_anything_begins(
    chain: Chain, tmp_path: Path
) -> None:
    """The last of this file. The release leads to the old primary, which nobody ended, and its standby went along with
    the new one, as soon as its replay was let on."""
    old = Plane(chain.first.url("mc"), tmp_path)
    old.settings["REPLICA_URL_1"] = chain.third.url("mc")
    [told] = old.done("inspect", "1.0.0", "1.1.0")["replicas"]
    assert (told["state"], told["timeline"]) == ("ok", 1)

    new = Plane(chain.second.url("mc"), tmp_path, settings={"REPLICA_URL_1": chain.third.url("mc"), **WAITS})
    order(chain.third, "SELECT pg_wal_replay_pause()")
    try:
        order(chain.second, "SELECT pg_promote()")
        wait_there(chain.third, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE received_tli = 1)")
        says(
            new.run("barrier", "1.0.0", "1.1.0"),
            2,
            "ReplicaPaused",
            "the primary is on 2",
            "wal_replay_resume",
        )
    finally:
        order(chain.third, "SELECT pg_wal_replay_resume()")
    wait_there(chain.third, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE received_tli = 2)")
    assert_no_step_begins_but_the_way_back_does(
        old, chain.third.url("mc"), "ReplicaDiverged",
        f"replica 127.0.0.1:{chain.third.port}/mc follows timeline 2, the primary is on 1",
        "pg_rewind", "or correct DATABASE_URL",
    )  # fmt: skip

    new.settings["MIGRATOR_REPLICA_WAIT_SECONDS"] = "30"
    says(new.run("expand", "1.0.0", "1.1.0", upgrade="u2"), 1, "FailedOver", "timeline 1", "timeline 2")
    expanded = new.done("expand", "1.0.0", "1.1.0", upgrade="u2", attempt="2")
    [told] = expanded["replicas"]
    assert (told["state"], told["timeline"]) == ("ok", 2)
    assert told["ledgerLine"] == expanded["ledgerLine"]
