"""PostgreSQL with a streaming standby that the release names: paused, late, cut off, gone, promoted, failed over to.

A step forward ends when the standby has it too, and nothing is contracted before the old version's sessions are gone
there as well: docs/replicas.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.crash_runs import Lane, lane
from harness.end_state import LABEL_REVISION
from harness.kube import Kube, KubectlError
from harness.load_run import LoadRun
from harness.load_summary import LoadSummary
from harness.mc_install import EXECUTIONS
from harness.postgres import Server, fail_over
from harness.stories import McRefusal, McUpgrade, ledger
from harness.waiting import poll

PATIENCE_SECONDS = 240.0
#: Three attempts at the expand step, each of which waits a minute for the standby (MIGRATOR_REPLICA_WAIT_SECONDS).
GIVEN_UP_SECONDS = 360.0
#: Longer than the operator needs to see that a Job has ended, and this test to look after that.
DELAY = "8s"
ENDPOINT = "postgres-standby:5432/mc"
NEWEST_LINE = "SELECT max(seq) FROM maestro_conductor.events"
SYSTEM = "SELECT system_identifier FROM pg_control_system()"
COLUMN = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'executions'::regclass AND attname = '{}')"
MAY_LOG_IN = "SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'"
#: The runner keeps its connection to a replica while it waits for it.
WAITED_FOR = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'migrator % expand %'
               AND clock_timestamp() - backend_start > interval '5 s')
"""
BEFORE_THE_CONTRACT = {"approval.beforeContract": True}

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(900)]


def refused_plane(kube: Kube, namespace: str) -> McRefusal:
    return McRefusal(kube, namespace, standby=True)


def upgraded_plane(kube: Kube, namespace: str) -> McUpgrade:
    return McUpgrade(kube, namespace, standby=True)


@pytest.fixture(scope="module")
def plane(kube: Kube, no_other_operator: None, request: pytest.FixtureRequest) -> Iterator[Lane[McRefusal]]:
    """mc 1.0.0 with a standby, upgraded and given up as often as there are tests before the switch."""
    before = request.session.testsfailed
    with lane(kube, refused_plane, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready


@pytest.fixture
def made(plane: Lane[McRefusal]) -> Iterator[Lane[McRefusal]]:
    plane.story.plane.replica.wait_caught_up(plane.story.plane.primary)
    plane.story.set_out()
    yield plane
    plane.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


@contextmanager
def own_plane(kube: Kube, request: pytest.FixtureRequest, **values: Any) -> Iterator[Lane[McUpgrade]]:
    """mc 1.0.0 with a standby and these values, about to be upgraded with its data."""
    before = request.session.testsfailed
    with lane(kube, upgraded_plane, failed=lambda: request.session.testsfailed > before) as ready:
        ready.story.plane.values |= values
        ready.story.set_out()
        yield ready


def users_of(made: Lane[McRefusal]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="standby-users")


def servers(made: Lane[McRefusal]) -> tuple[Server, Server]:
    return made.story.plane.primary, made.story.plane.replica


def assert_nobody_lost_anything(summary: LoadSummary, *versions: str) -> None:
    assert not summary.faults(), summary.line()
    assert summary.writes.verified
    assert set(summary.versions) == set(versions)


def wait_reason(made: Lane[McRefusal], reason: str) -> str:
    """Wait for it; the id of the upgrade under way."""
    item = made.story.release.wait(
        lambda item: item["status"]["reason"] == reason, what=reason, deadline_seconds=PATIENCE_SECONDS
    )
    return str(item["status"]["upgrade"]["id"])


def give_up(made: Lane[McRefusal]) -> None:
    made.story.release.command("abort")
    made.story.release.wait_upgrade(
        made.story.version, outcomes=("Aborted",), deadline_seconds=PATIENCE_SECONDS
    )


def applied(made: Lane[McRefusal], upgrade: str) -> list[str]:
    """What this upgrade brought the schema to, one after the other."""
    told = ledger(made.story.plane, upgrade)
    return [line["state"] for line in told if line["event"] == "applied" and line["state"]]


def attempts(made: Lane[McRefusal], upgrade: str, verb: str) -> int:
    jobs = made.kube.objects("Job", made.story.namespace)
    return sum(f"{upgrade}-{verb}-" in job["metadata"]["name"] for job in jobs)


def held_back(made: Lane[McRefusal]) -> str:
    """Until the primary has the expand step, and its Job waits for the standby, which has not; the upgrade's id."""
    primary, standby = servers(made)
    item = made.story.release.wait(
        lambda item: (item["status"]["phase"], item["status"]["reason"]) == ("Expanding", "RunningJob"),
        what="the expand Job to run", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    upgrade = str(item["status"]["upgrade"]["id"])
    poll(
        lambda: applied(made, upgrade) or None, what="the expand step on the primary",
        deadline_seconds=PATIENCE_SECONDS, every_seconds=0.5,
    )  # fmt: skip
    standby.wait_for(WAITED_FOR, what="to be waited for by the expand Job")
    assert applied(made, upgrade) == ["expanded"]
    status = made.story.release.status()
    assert (status["phase"], status["reason"]) == ("Expanding", "RunningJob"), status["message"]
    assert int(standby.value(NEWEST_LINE)) < int(primary.value(NEWEST_LINE))
    told = f"SELECT count(*) FROM maestro_conductor.events WHERE upgrade = '{upgrade}' AND event = 'applied'"
    assert standby.value(told) == "0"
    return upgrade


def assert_both_have_it(made: Lane[McRefusal], *, timeline: int) -> None:
    """The status names both servers, and the ledger of each ends where it says."""
    primary, standby = servers(made)
    shown = made.story.release.status()["migrations"]
    (replica,) = shown["replicas"]
    assert (replica["endpoint"], replica["state"]) == (ENDPOINT, "ok"), replica
    assert replica["ledgerLine"] == shown["ledgerLine"]
    assert replica["timeline"] == shown["timeline"] == timeline
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", replica["lsn"])
    for server in (primary, standby):
        assert int(server.value(NEWEST_LINE)) == shown["ledgerLine"]
        assert server.value(SYSTEM) == shown["systemId"]


def test_a_paused_replay_holds_the_upgrade_until_it_goes_on(made: Lane[McRefusal]) -> None:
    _, standby = servers(made)
    with users_of(made) as users:
        standby.pause()
        try:
            made.story.ask()
            upgrade = held_back(made)
        finally:
            standby.resume()
        assert wait_reason(made, "AwaitingApproval") == upgrade
        assert (attempts(made, upgrade, "expand"), attempts(made, upgrade, "migrate")) == (1, 1)
        assert applied(made, upgrade) == ["expanded", "migrated"]
        assert_both_have_it(made, timeline=1)
        give_up(made)
        summary = users.stop()
    assert_nobody_lost_anything(summary, "1.0.0")


def test_each_step_ends_when_a_standby_that_lags_has_it_too(made: Lane[McRefusal]) -> None:
    _, standby = servers(made)
    standby.set("recovery_min_apply_delay", f"'{DELAY}'")
    try:
        with users_of(made) as users:
            made.story.ask()
            for verb, *after in (("expand", "BringingUp", "Migrating"), ("migrate", "Verifying")):
                item = made.story.release.wait_phase(*after, deadline_seconds=PATIENCE_SECONDS)
                there = int(standby.value(NEWEST_LINE))
                shown = item["status"]["migrations"]
                assert shown["verb"] == verb
                assert there >= shown["ledgerLine"], f"after {verb}"
            upgrade = wait_reason(made, "AwaitingApproval")
            assert (attempts(made, upgrade, "expand"), attempts(made, upgrade, "migrate")) == (1, 1)
            give_up(made)
            summary = users.stop()
    finally:
        standby.set("recovery_min_apply_delay", "DEFAULT")
    assert_nobody_lost_anything(summary, "1.0.0")


def test_a_standby_that_is_cut_off_holds_the_upgrade_until_it_receives_again(made: Lane[McRefusal]) -> None:
    _, standby = servers(made)
    with users_of(made) as users:
        with standby.cut_off():
            made.story.ask()
            upgrade = held_back(made)
        assert wait_reason(made, "AwaitingApproval") == upgrade
        assert attempts(made, upgrade, "expand") == 1
        assert_both_have_it(made, timeline=1)
        give_up(made)
        summary = users.stop()
    assert_nobody_lost_anything(summary, "1.0.0")


def test_a_standby_that_is_gone_refuses_the_upgrade_and_keeps_nobody_from_the_way_back(
    made: Lane[McRefusal],
) -> None:
    primary, standby = servers(made)
    release, blue = made.story.release, made.story.before

    def serving() -> set[str]:
        labels = f"{LABEL_REVISION}={blue.revision}"
        return {
            pod["metadata"]["uid"] for pod in made.kube.objects("Pod", made.story.namespace, labels=labels)
        }

    before = serving()
    with standby.gone(), users_of(made) as users:
        made.story.ask()
        ended = release.wait_upgrade(
            made.story.version, outcomes=("Refused",), deadline_seconds=GIVEN_UP_SECONDS
        )
        summary = users.stop()
        assert ended.reason == "ExpandFailed"
        assert f"replica {ENDPOINT} does not answer" in ended.message
        assert "where it is gone, take it out of the release" in ended.message
        assert attempts(made, ended.id, "expand") == 3
        assert [phase.phase for phase in ended.timeline] == ["Preflight", "Expanding", "BackingOut"]
        assert applied(made, ended.id) == ["expanded", "backed-out"]
        assert not primary.holds(COLUMN.format("owner_name"))
        status = release.status()
        assert (status["activeRevision"], status["traffic"]["current"]) == (blue.revision, blue.colour)
        assert serving() == before
    assert_nobody_lost_anything(summary, "1.0.0")


def test_sessions_of_the_old_version_on_the_standby_are_ended_before_the_contract(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> None:
    with own_plane(kube, request, soak="20s") as made:
        primary, standby = servers(made)
        story, old = made.story, f"mc_{made.story.before.colour}"
        sessions = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{old}'"
        report = standby.held_session(old, "SELECT count(owner) FROM executions", application="report")
        with users_of(made) as users, report as held:
            story.ask()
            story.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
            assert int(standby.value(sessions)) == 1
            assert not held.done()
            assert story.release.status()["phase"] in ("Soaking", "Closing")
            story.follow()
            assert standby.value(sessions) == "0"
            with pytest.raises(KubectlError, match="terminating connection"):
                held.result(timeout=30)
            summary = users.stop()
        with pytest.raises(KubectlError, match="not permitted to log in"):
            standby.sql("SELECT 1", role=old)
        status = story.release.status()
        assert status["contractedAfter"]["sessions"] == "proven"
        assert status["fencedLogin"] == old
        standby.wait_caught_up(primary)
        assert_both_have_it(made, timeline=1)
        assert not standby.holds(COLUMN.format("owner"))
        assert standby.value(EXECUTIONS) == primary.value(EXECUTIONS)
        assert_nobody_lost_anything(summary, "1.0.0", "1.1.0")


def up_to_the_contract(made: Lane[McUpgrade]) -> str:
    """The upgrade waits in its soak for the word that closes the way back; its id."""
    made.story.ask()
    item = made.story.release.wait(
        lambda item: (item["status"]["phase"], item["status"]["reason"]) == ("Soaking", "AwaitingApproval"),
        what="the contract's approval to be awaited", deadline_seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    return str(item["status"]["upgrade"]["id"])


def contract_stops(made: Lane[McUpgrade], upgrade: str, *says: str) -> str:
    """The contract step is asked for and stops without having done anything; what its retry is called."""
    made.story.release.command("approve", step="contract")
    stalled = made.story.release.wait_condition(
        "Stalled", reason="ContractFailed", deadline_seconds=PATIENCE_SECONDS
    )
    for part in says:
        assert part in stalled["message"], stalled["message"]
    (retry,) = re.findall(rf"retry=({upgrade}/contract/\d+)", stalled["message"])
    return str(retry)


def assert_nothing_contracted(made: Lane[McUpgrade], primary: Server) -> None:
    assert primary.holds(COLUMN.format("owner"))
    assert primary.holds(MAY_LOG_IN.format(f"mc_{made.story.before.colour}"))
    assert primary.value("SELECT count(*) FROM maestro_conductor.permits") == "0"


def test_a_standby_that_was_promoted_stops_the_contract_until_it_is_made_anew(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> None:
    with own_plane(kube, request, **BEFORE_THE_CONTRACT) as made:
        primary, standby = servers(made)
        with users_of(made) as users:
            upgrade = up_to_the_contract(made)
            standby.promote()
            retry = contract_stops(
                made, upgrade, f"replica {ENDPOINT} is no standby: it was promoted", "only one of the two"
            )
            assert_nothing_contracted(made, primary)
            standby.make_anew()
            made.story.release.annotate("retry", retry)
            made.story.follow()
            summary = users.stop()
        assert applied(made, upgrade) == ["expanded", "migrated", "contracted"]
        assert made.story.release.status()["contractedAfter"]["sessions"] == "proven"
        standby.wait_caught_up(primary)
        assert_both_have_it(made, timeline=1)
        assert not standby.holds(COLUMN.format("owner"))
        assert_nobody_lost_anything(summary, "1.0.0", "1.1.0")


def test_a_failover_stops_the_contract_once_and_it_is_proven_on_the_new_standby(
    kube: Kube, no_other_operator: None, request: pytest.FixtureRequest
) -> None:
    """Nobody is there while the database is away: what that costs users is another matter."""
    with own_plane(kube, request, **BEFORE_THE_CONTRACT) as made:
        former, promoted = servers(made)
        with users_of(made) as users:
            upgrade = up_to_the_contract(made)
            summary = users.stop()
        assert_nobody_lost_anything(summary, "1.0.0", "1.1.0")
        fail_over(former, promoted)
        wait_connected(made, promoted)
        with users_of(made) as users:
            retry = contract_stops(made, upgrade, "timeline 1, and is by", "timeline 2 now", "was promoted")
            assert_nothing_contracted(made, promoted)
            made.story.release.annotate("retry", retry)
            made.story.follow()
            so_far = users.latest()
            assert so_far is not None
            users.wait_requests(so_far.requests + 5 * int(users.plan.rate), deadline_seconds=30)
            summary = users.stop()
        assert_nobody_lost_anything(summary, "1.1.0")
        contracted = made.story.release.status()["contractedAfter"]
        assert (contracted["sessions"], contracted["timeline"]) == ("proven", 2)
        former.wait_caught_up(promoted)
        assert_both_have_it(made, timeline=2)
        assert "failed-over" in {line["event"] for line in ledger(made.story.plane, upgrade)}
        assert former.value(EXECUTIONS) == promoted.value(EXECUTIONS)


def wait_connected(made: Lane[McUpgrade], primary: Server) -> None:
    """Until each pod of the version that serves has found the server that takes writes now."""
    status = made.story.release.status()
    labels = f"{LABEL_REVISION}={status['upgrade']['toRevision']}"
    pods = made.kube.objects("Pod", made.story.namespace, labels=labels)
    addresses = ", ".join(f"'{pod['status']['podIP']}'" for pod in pods)
    primary.wait_for(
        f"SELECT count(DISTINCT client_addr) = {len(pods)} FROM pg_stat_activity"
        f" WHERE host(client_addr) IN ({addresses})",
        what=f"{len(pods)} pods of mc to be connected",
    )
