"""mc is upgraded with its data while users read and write: through, refused at each gate, and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.foreign_hands import GREEN_PHASES, PIPELINE, ForeignHands, identity
from harness.kube import Kube, in_namespace
from harness.load_run import LoadRun
from harness.load_summary import LoadSummary
from harness.mc_install import EXECUTIONS, HISTORY_ROWS, Mc
from harness.namespaces import namespace
from harness.releases import PhaseRecorder
from harness.waiting import poll

FIRST, SECOND, BAD, SLOW = "1.0.0", "1.1.0", "1.2.0-bad", "1.2.1-slow"
MIGRATION = Path(__file__).resolve().parents[2] / "controlplane" / "migrations" / SECOND
#: Fewer verification requests than in production, but enough to tell 5 % of errors from 1 % nearly always.
VALUES = {
    "api.replicas": 2,
    "soak": "10s",
    "traffic.switchHealth.window": "20s",
    "traffic.switchHealth.missRate": 0.05,
    # A busy machine is slow as well; only one test here is about slowness.
    "traffic.switchHealth.p95LatencyMs": 5000,
}
SLOWNESS_COUNTS = VALUES | {"traffic.switchHealth.p95LatencyMs": 900}
#: Few users, so that the machine has time for other tests; `make bench-switch` brings many.
USERS: dict[str, Any] = {"rate": 60, "keep_alive_clients": 20, "one_shot_clients": 20}
#: Enough at the same time for 1.2.1-slow, which serves 20 requests a second in each pod.
CROWD: dict[str, Any] = {"rate": 110}
#: An upgrade that stands still for so long has failed.
PATIENCE_SECONDS = 110.0
#: An object in the way of expand.sql: it has the name and the arguments of a function there, but another result.
CONFLICT = (
    "CREATE FUNCTION executions_owner_join(owner_name text, owner_email text)"
    " RETURNS integer LANGUAGE sql AS 'SELECT 1'"
)
MEND = "DROP FUNCTION executions_owner_join(text, text)"

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]


@pytest.fixture(scope="module")
def plane(kube: Kube, operator: None, request: pytest.FixtureRequest) -> Iterator[Mc]:
    """mc 1.0.0 over a database with history and a standby, which the tests here upgrade one after the other."""
    before = request.session.testsfailed
    with namespace(kube, "mc", failed=lambda: request.session.testsfailed > before) as name:
        installed = Mc(kube, name, values=VALUES, standby=True)
        installed.install()
        yield installed


def users_of(plane: Mc, users: dict[str, Any] = USERS) -> LoadRun:
    return LoadRun(plane.kube, plane.load(**users), name="mc-users")


def progress_of(release: dict[str, Any]) -> dict[str, Any] | None:
    return ((release.get("status") or {}).get("migrations") or {}).get("progress")


def number(plane: Mc, query: str) -> int:
    return int(plane.sql(query).strip())


def assert_nobody_lost_anything(summary: LoadSummary) -> None:
    assert not summary.faults(), summary.line()
    assert summary.writes.verified
    assert summary.creates >= 0.3 * summary.requests


def deployments(plane: Mc) -> dict[str, int]:
    """Name and generation of what runs."""
    found = plane.kube.objects("Deployment", plane.namespace)
    return {item["metadata"]["name"]: item["metadata"]["generation"] for item in found}


def pods(plane: Mc) -> set[str]:
    found = plane.kube.objects("Pod", plane.namespace, labels="maestro-conductor.io/component")
    return {item["metadata"]["uid"] for item in found}


@pytest.fixture
def plane_in_which_expand_fails(plane: Mc) -> Iterator[Mc]:
    """As long as the test lasts; afterwards the version that served is asked for again."""
    old = plane.release.status()["activeVersion"]
    plane.sql(CONFLICT)
    yield plane
    plane.sql(MEND)
    plane.ask_for(old)
    plane.release.wait_settled(old, deadline_seconds=PATIENCE_SECONDS)


def test_a_failing_expand_leaves_blue_untouched(plane_in_which_expand_fails: Mc) -> None:
    plane = plane_in_which_expand_fails
    release = plane.release
    old = release.status()["activeVersion"]
    before = deployments(plane), pods(plane)
    with users_of(plane) as users:
        plane.ask_for(SECOND)
        upgrade = release.wait_upgrade(SECOND, outcomes=("Refused",), deadline_seconds=PATIENCE_SECONDS)
        assert (deployments(plane), pods(plane)) == before
        summary = users.stop()
    assert upgrade.reason == "ExpandFailed"
    assert "1.1.0/expand.sql line 7: cannot change return type" in upgrade.message
    stalled = release.wait_condition("Stalled", reason="RolledBack", deadline_seconds=20)
    assert "spec.migrations" in stalled["message"]
    assert [phase.phase for phase in upgrade.timeline] == ["Preflight", "Expanding", "BackingOut"]
    assert_nobody_lost_anything(summary)
    assert set(summary.versions) == {old}
    assert number(plane, "SELECT count(*) FROM executions WHERE owner IS NULL") == 0


def test_an_upgrade_takes_its_data_along_while_both_versions_write_and_foreign_hands_change_nothing(
    plane: Mc,
) -> None:
    """The same manifests are applied again in every phase in which green has traffic, with force and by helm."""
    release = plane.release
    with users_of(plane) as users, ThreadPoolExecutor(len(GREEN_PHASES)) as executor:
        plane.ask_for(SECOND)
        backfilling = release.wait(
            lambda item: bool(progress_of(item)) or item["status"]["phase"] == "Verifying",
            what="the backfill to say how far it is", deadline_seconds=PATIENCE_SECONDS,
        )  # fmt: skip
        told = progress_of(backfilling)
        assert told is not None, "the backfill ended without a word of its progress"
        assert 0 < told["rowsDone"] <= told["rowsTotal"]
        assert told["endsAt"] >= told["at"]
        release.wait_phase("Verifying", deadline_seconds=PATIENCE_SECONDS)
        before = identity(release)
        green = release.status()["candidateRevision"]
        hands = ForeignHands(plane, SECOND, green, executor)
        with PhaseRecorder(release, hands.meet):
            release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
            users.wait_version(SECOND, deadline_seconds=20)
            while_both_write = number(plane, (MIGRATION / "divergence.sql").read_text())
            migrated = release.status()["migrations"]
            upgrade = release.wait_upgrade(SECOND, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
            poll(
                lambda: hands.applied_in >= GREEN_PHASES or None,
                what="a forced apply in every phase", deadline_seconds=30, last_seen=lambda: hands.applied_in,
            )  # fmt: skip
        assert hands.finish() == GREEN_PHASES
        so_far = users.latest()
        assert so_far is not None
        users.wait_requests(so_far.requests + 5 * USERS["rate"], deadline_seconds=30)
        summary = users.stop()
    assert_applied_in_vain(plane, hands, green)
    assert identity(release) == before, "a new generation or a new upgrade"
    assert while_both_write == 0
    assert (migrated["state"], migrated["divergence"]) == ("migrated", 0)
    assert migrated["rowsDone"] >= HISTORY_ROWS
    assert_nobody_lost_anything(summary)
    assert set(summary.versions) == {FIRST, SECOND}
    assert [phase.phase for phase in upgrade.timeline] == [
        *("Preflight", "Expanding", "BringingUp", "Migrating", "Verifying"),
        *("Switching", "Soaking", "Closing", "Contracting"),
    ]
    status = release.status()
    assert status["migrations"]["state"] == "contracted"
    assert (status["contractedAfter"]["sessions"], status["contractedAfter"]["pitr"]) == (
        "proven",
        "unverified",
    )
    assert status["fencedLogin"] in {"mc_blue", "mc_green"}
    may_log_in = "SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'"
    assert plane.sql(may_log_in.format(status["fencedLogin"])).strip() == "f"
    columns = "SELECT json_agg(column_name ORDER BY 1) FROM information_schema.columns WHERE table_name = 'executions'"
    names = json.loads(plane.sql(columns))
    assert "owner" not in names
    assert {"owner_name", "owner_email"} < set(names)
    number_of_row = "substr(name, 9)"
    moved = (
        "SELECT count(*) FROM executions WHERE tenant LIKE 'history-%'"
        f" AND owner_name = 'Person ' || {number_of_row}"
        f" AND owner_email = 'person-' || {number_of_row} || '@example.com'"
    )
    assert number(plane, moved) == HISTORY_ROWS
    assert_the_standby_has_it_too(plane)


def assert_the_standby_has_it_too(plane: Mc) -> None:
    told = plane.release.status()["migrations"]
    (replica,) = told["replicas"]
    assert (replica["endpoint"], replica["state"]) == ("postgres-standby:5432/mc", "ok")
    assert (replica["ledgerLine"], replica["timeline"]) == (told["ledgerLine"], told["timeline"])
    plane.replica.wait_caught_up(plane.primary)
    assert plane.replica.value(EXECUTIONS) == plane.primary.value(EXECUTIONS)


def assert_applied_in_vain(plane: Mc, hands: ForeignHands, green: str) -> None:
    assert hands.applied_in == GREEN_PHASES
    assert hands.selected == {green}
    status = plane.release.status()
    assert (status["activeRevision"], status.get("upgrade")) == (green, None)
    traffic = status["traffic"]
    assert (traffic["current"], traffic["green"], traffic["reversions"]) == ("green", 100, 0)
    published = plane.kube.need("ConfigMap", "mc-traffic", plane.namespace)
    assert published["data"] == {"current": "green"}


def jobs(plane: Mc) -> set[str]:
    return {item["metadata"]["uid"] for item in plane.kube.objects("Job", plane.namespace)}


def test_what_serves_applied_a_hundred_times_runs_no_job_and_writes_nothing(plane: Mc) -> None:
    """As a pipeline does it that writes the number of its run on whatever it applies."""
    release = plane.release
    status = release.status()
    version = status["activeVersion"]
    lines = "SELECT count(*) FROM maestro_conductor.events"
    before = deployments(plane), pods(plane), number(plane, lines)
    there = jobs(plane)
    (wanted,) = (item for item in plane.rendered(version) if item["kind"] == "ControlPlaneRelease")
    wanted = in_namespace(wanted, plane.namespace)
    for run in range(100):
        wanted["metadata"]["annotations"] = {"some-pipeline/run": str(run)}
        plane.kube.apply(wanted, manager=PIPELINE)
    assert release.status() == status
    # A change that only a person reads: once its generation is observed, so was all that came before it.
    wanted["spec"]["soak"] = "11s"
    plane.kube.apply(wanted, manager=PIPELINE)
    settled = release.wait_settled(version, deadline_seconds=PATIENCE_SECONDS)["status"]
    assert (settled["sequence"], settled["lastUpgrade"]) == (status["sequence"], status["lastUpgrade"])
    assert (deployments(plane), pods(plane), number(plane, lines)) == before
    assert jobs(plane) <= there
    nothing = {key: wanted[key] for key in ("apiVersion", "kind")}
    name = {key: wanted["metadata"][key] for key in ("name", "namespace")}
    plane.kube.apply({**nothing, "metadata": name}, manager=PIPELINE)
    plane.ask_for(version)


def test_a_bad_version_is_refused_before_a_user_meets_it(plane: Mc) -> None:
    release = plane.release
    old = release.status()["activeVersion"]
    with users_of(plane) as users:
        plane.ask_for(BAD)
        upgrade = release.wait_upgrade(BAD, outcomes=("Refused",), deadline_seconds=PATIENCE_SECONDS)
        summary = users.stop()
    assert upgrade.reason == "Unhealthy"
    assert upgrade.switched_at is None
    assert_nobody_lost_anything(summary)
    assert set(summary.versions) == {old}


def test_a_version_that_is_slow_for_users_only_is_taken_back(plane: Mc) -> None:
    release = plane.release
    old = release.status()["activeVersion"]
    colour = release.status()["traffic"]["current"]
    with users_of(plane, CROWD) as users:
        plane.values = SLOWNESS_COUNTS
        plane.ask_for(SLOW)
        upgrade = release.wait_upgrade(SLOW, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS)
        users.wait_version(old, deadline_seconds=30, only=True)
        summary = users.stop()
    assert upgrade.reason == "Unhealthy"
    assert "p95" in upgrade.message
    assert summary.versions[SLOW].answers > 0
    assert_nobody_lost_anything(summary)
    status = release.status()
    assert (status["activeVersion"], status["traffic"]["current"]) == (old, colour)
    assert status["failedDigest"]
