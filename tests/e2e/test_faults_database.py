"""PostgreSQL is away or hangs, its Secret changes, Jobs and ConfigMaps of mc are deleted: docs/faults.md, part 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from harness.crash_runs import Lane, lane
from harness.kube import Kube
from harness.load_run import LoadRun
from harness.rig import SILENT_PORT
from harness.rig_pod import LABEL
from harness.stories import McRefusal, McUpgrade, ledger
from harness.waiting import wait_for_object, wait_for_objects

PATIENCE_SECONDS = 200.0
#: From the decision to go back until no Service points at the candidate: no database is asked in between.
BACK_SECONDS = 5.0
POSTGRES = "postgres"
SECRET = "mc-database"

pytestmark = [pytest.mark.alone, pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plane(kube: Kube, no_other_operator: None, request: pytest.FixtureRequest) -> Iterator[Lane[McRefusal]]:
    """mc 1.0.0, upgraded and given up as often as there are tests."""
    before = request.session.testsfailed
    with lane(kube, McRefusal, failed=lambda: request.session.testsfailed > before) as ready:
        yield ready


@pytest.fixture
def made(plane: Lane[McRefusal]) -> Iterator[Lane[McRefusal]]:
    plane.story.set_out()
    yield plane
    plane.story.release.end_upgrade(deadline_seconds=PATIENCE_SECONDS)


def users_of(made: Lane[McRefusal]) -> LoadRun:
    return LoadRun(made.kube, made.story.load(), name="fault-users")


def wait_reason(made: Lane[McRefusal], reason: str) -> str:
    """Wait for it; the id of the upgrade under way."""
    item = made.story.release.wait(
        lambda item: item["status"]["reason"] == reason, what=reason, deadline_seconds=PATIENCE_SECONDS
    )
    return str(item["status"]["upgrade"]["id"])


def test_a_job_that_is_deleted_runs_again_and_does_its_work_once(made: Lane[McRefusal]) -> None:
    namespace = made.story.namespace
    with users_of(made) as users:
        made.story.ask()
        (job,) = wait_for_objects(
            made.kube, "Job", namespace,
            lambda items: any(made.story.release.upgrade_id() in item["metadata"]["name"] for item in items),
            what="the expand Job", deadline_seconds=60, labels="maestro-conductor.io/upgrade",
        )[-1:]  # fmt: skip
        made.kube.delete("Job", job["metadata"]["name"], namespace)
        upgrade = wait_reason(made, "AwaitingApproval")
        applied = [line for line in ledger(made.story.plane, upgrade) if line["event"] == "applied"]
        made.story.release.command("abort")
        made.story.release.wait_upgrade(
            made.story.version, outcomes=("Aborted",), deadline_seconds=PATIENCE_SECONDS
        )
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert sorted(line["state"] for line in applied if line["state"]) == ["expanded", "migrated"]


def test_a_secret_that_is_spoilt_in_mid_upgrade_holds_back_what_starts_after_it(
    made: Lane[McRefusal],
) -> None:
    """Secrets are not pinned: what runs goes on, the candidate's Jobs cannot log in, and are told by name."""
    namespace, release = made.story.namespace, made.story.release
    good = made.kube.need("Secret", SECRET, namespace)["data"]["url"]
    with users_of(made) as users:
        made.story.ask()
        upgrade = wait_reason(made, "AwaitingApproval")
        made.kube.patch(
            "Secret", SECRET, namespace, {"stringData": {"url": "postgresql://mc:wrong@postgres/mc"}}
        )
        release.command("abort")
        stalled = release.wait_condition("Stalled", reason="BackoutFailed", deadline_seconds=PATIENCE_SECONDS)
        made.kube.patch("Secret", SECRET, namespace, {"data": {"url": good}})
        (retry,) = re.findall(rf"retry=({upgrade}/backout/\d+)", stalled["message"])
        release.annotate("retry", retry)
        release.wait_upgrade(made.story.version, outcomes=("Aborted",), deadline_seconds=PATIENCE_SECONDS)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert set(summary.versions) == {"1.0.0"}


def test_the_published_colour_is_put_back(made: Lane[McRefusal]) -> None:
    namespace = made.story.namespace
    with users_of(made) as users:
        made.story.ask()
        wait_reason(made, "AwaitingApproval")
        assert made.kube.delete("ConfigMap", "mc-traffic", namespace)
        made.story.release.command("abort")
        made.story.release.wait_upgrade(
            made.story.version, outcomes=("Aborted",), deadline_seconds=PATIENCE_SECONDS
        )
        colour = made.story.before.colour
        wait_for_object(
            made.kube, "ConfigMap", "mc-traffic", namespace, lambda item: item["data"] == {"current": colour},
            what="to be published again", deadline_seconds=30,
        )  # fmt: skip
        summary = users.stop()
    assert not summary.faults(), summary.line()


@pytest.mark.parametrize("how", ["away", "hanging"])
def test_going_back_does_not_notice_that_postgresql_is(kube: Kube, no_other_operator: None, how: str) -> None:
    with lane(kube, McUpgrade) as made:
        story = made.story
        story.plane.values |= {"soak": "60m"}
        story.set_out()
        with users_of(made) as users:
            story.ask()
            story.release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
            users.wait_version(story.version, deadline_seconds=30)
            usual = kube.need("Service", POSTGRES, story.namespace)["spec"]
            cut_off(made, hanging=how == "hanging")
            story.release.command("rollback")
            back = story.release.wait(
                lambda item: bool(item["status"].get("upgrade", {}).get("switchedBackAt")),
                what="traffic to be back", deadline_seconds=PATIENCE_SECONDS,
            )["status"]["upgrade"]  # fmt: skip
            # The status says so first: it is the intent.
            wait_for_object(
                kube, "Service", "mc-api", story.namespace,
                lambda item: item["spec"]["selector"]["maestro-conductor.io/revision"] == story.before.revision,
                what="to lead back", deadline_seconds=BACK_SECONDS,
            )  # fmt: skip
            # mc calls itself ready while it reaches its database: only then can the way back be proven.
            lead_to(made, usual)
            ended = story.release.wait_upgrade(
                story.version, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
            )
            users.wait_version(story.before.version, deadline_seconds=60, only=True)
        decided_at, back_at = (datetime.fromisoformat(back[name]) for name in ("decidedAt", "switchedBackAt"))
        assert (back_at - decided_at).total_seconds() < BACK_SECONDS
        assert "ExpandedKept" in ended.message


def cut_off(made: Lane[McUpgrade], *, hanging: bool) -> None:
    """Nobody reaches PostgreSQL any more: its address refuses, or accepts and never answers."""
    ports = [{"name": "postgres", "port": 5432, "targetPort": SILENT_PORT}]
    lead_to(made, {"selector": dict(LABEL) if hanging else {"nobody": "here"}, "ports": ports})
    made.story.plane.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename LIKE 'mc%'"
    )


def lead_to(made: Lane[McUpgrade], spec: dict[str, Any]) -> None:
    """Where the address of PostgreSQL leads from now on."""
    patch = [
        {"op": "replace", "path": f"/spec/{name}", "value": spec[name]} for name in ("selector", "ports")
    ]
    made.kube.patch("Service", POSTGRES, made.story.namespace, patch, how="json")
