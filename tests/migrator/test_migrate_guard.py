"""scripts/migrate_guard.sh, with the real runner on a real PostgreSQL; of kubectl, only its answer is played."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.migrator.plane import MC_MIGRATIONS, ROOT, Plane

SCRIPT = ROOT / "scripts" / "migrate_guard.sh"
OFFLINE = ("--offline", "-n", "prod", "--upgrade", "u1", "--from", "1.0.0", "--to", "1.1.0")


@dataclass(frozen=True)
class Told:
    exit_code: int
    answer: dict[str, Any]
    error: str


@dataclass(frozen=True)
class Guard:
    """The script on one database, and what kubectl would show of the release."""

    plane: Plane
    folder: Path

    def release(self, **status: Any) -> None:
        item = {"metadata": {"name": "mc", "namespace": "prod"}, "status": status}
        (self.folder / "release.json").write_text(json.dumps(item))

    def run(self, *words: str, **environment: str) -> Told:
        kubectl = self.folder / "kubectl"
        asked = "get controlplanereleases.maestro-conductor.io mc -o json"
        kubectl.write_text(f"""#!/bin/sh
case "$*" in *" {asked}") exec cat "{self.folder}/release.json" ;; esac
echo "not played: $*" >&2; exit 1
""")
        kubectl.chmod(0o755)
        found_first = f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"DATABASE_URL": self.plane.url, "PYTHONPATH": str(ROOT / "migrator"),
                 "MIGRATOR_MIGRATIONS": str(MC_MIGRATIONS), **environment}  # fmt: skip
        done = subprocess.run(
            [SCRIPT, *words],
            env={"PATH": found_first, **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        lines = done.stdout.splitlines()
        assert len(lines) <= 1, done.stdout
        return Told(done.returncode, json.loads(lines[0]) if lines else {}, done.stderr)


@pytest.fixture
def guard(small: Plane, tmp_path: Path) -> Guard:
    folder = tmp_path / "bin"
    folder.mkdir()
    return Guard(small, folder)


def test_a_pipeline_without_an_operator_meets_the_runner_s_refusals(guard: Guard) -> None:
    guard.plane.done("expand", "1.0.0", "1.1.0")
    migrated = guard.run("migrate", "mc", *OFFLINE)
    assert (migrated.exit_code, migrated.answer["divergence"]) == (0, 0)
    assert '"event":"migrate applied"' in migrated.error
    without = guard.run("contract", "mc", *OFFLINE)
    assert (without.exit_code, without.answer["reason"]) == (1, "PermitMissing")


def test_with_an_operator_the_release_says_what_may_be_done_and_gives_the_permit(guard: Guard) -> None:
    upgrade = {"id": "u7", "from": "1.0.0", "to": "1.1.0", "attempt": 2}
    guard.release(phase="Expanding", activeVersion="1.0.0", upgrade=upgrade)
    assert guard.run("expand", "mc", "-n", "prod").answer["state"] == "expanded"
    assert "belongs to phase Migrating, it is in Expanding" in guard.run("migrate", "mc").error
    guard.plane.done("migrate", "1.0.0", "1.1.0", upgrade="u7", attempt="2")

    guard.release(phase="Soaking", activeVersion="1.1.0", upgrade=upgrade)
    contract, backout = guard.run("contract", "mc"), guard.run("backout", "mc")
    assert (contract.exit_code, backout.exit_code) == (1, 1)
    assert "maestro-conductor.io/approve=u7/contract" in contract.error
    assert "maestro-conductor.io/abort=u7" in backout.error
    assert guard.run("status", "mc").answer["state"] == "migrated"

    guard.release(phase="Stable", activeVersion="1.1.0", pendingContract={**upgrade, "state": "Pending"})
    assert guard.run("contract", "mc").exit_code == 1
    guard.release(phase="Stable", activeVersion="1.1.0", pendingContract={**upgrade, "state": "Committed"})
    assert guard.run("contract", "mc").answer["state"] == "contracted"
    with guard.plane.connection() as connection:
        written = connection.execute(
            "SELECT DISTINCT control_plane, upgrade, attempt FROM maestro_conductor.events WHERE upgrade <> 'u0'"
        ).fetchall()
        permits = connection.execute("SELECT permit FROM maestro_conductor.permits").fetchall()
    assert written == [("prod/mc", "u7", 2)]
    assert permits == [("u7/contract",)]


def test_at_rest_it_shows_and_does_nothing(guard: Guard) -> None:
    guard.release(phase="Stable", activeVersion="1.0.0")
    assert guard.run("status", "mc").answer["versions"] == {"1.0.0": "contracted"}
    refused = guard.run("backout", "mc")
    assert (refused.exit_code, refused.answer) == (1, {})
    assert "no upgrade of prod/mc is under way" in refused.error


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fence", "mc"),
        ("expand",),
        ("expand", "mc", "other"),
        ("expand", "mc", "--upgrade", "u1"),
        ("expand", "mc", "--offline", "-n", "prod"),
        ("expand", "mc", "--accept-loss"),
        ("expand", "mc", "--to"),
    ],
)
def test_wrong_use_has_an_exit_code_of_its_own_and_touches_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://none@127.0.0.1:1/none"}
    done = subprocess.run(
        [SCRIPT, *words], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert "scripts/migrate_guard.sh expand|migrate|contract|status|backout RELEASE" in done.stderr


def test_a_runner_that_is_not_there_is_worth_another_try(guard: Guard) -> None:
    told = guard.run("expand", "mc", *OFFLINE, MIGRATOR="no-such-runner")
    assert told.exit_code == 2
    assert "MIGRATOR names its command (no-such-runner)" in told.error


def test_a_schema_that_stays_is_taken_back_where_that_was_approved(guard: Guard) -> None:
    guard.plane.done("expand", "1.0.0", "1.1.0", upgrade="u7")
    kept = {"id": "u7", "from": "1.0.0", "to": "1.1.0", "attempt": 1, "state": "Pending"}
    guard.release(phase="Stable", activeVersion="1.0.0", pendingBackout=kept)
    told = guard.run("backout", "mc", "-n", "prod")
    assert (told.exit_code, "approve=u7/backout" in told.error) == (1, True), told
    guard.release(phase="Stable", activeVersion="1.0.0", pendingBackout=kept | {"state": "Committed"})
    assert guard.run("backout", "mc", "-n", "prod").answer["state"] == "backed-out"


def test_login_roles_are_named_by_whoever_runs_it(guard: Guard) -> None:
    guard.plane.execute("CREATE ROLE guarded_blue LOGIN; CREATE ROLE guarded_green NOLOGIN")
    roles = ("--login-idle", "guarded_green", "--login-serving", "guarded_blue")
    may = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'guarded_{}'"
    try:
        assert guard.run("expand", "mc", *OFFLINE, *roles).exit_code == 0
        assert guard.plane.value(may.format("green"))
        wrong = guard.run("migrate", "mc", *OFFLINE, *roles)
        assert (wrong.exit_code, "belong to expand and contract" in wrong.error) == (64, True)
        assert guard.run("migrate", "mc", *OFFLINE).exit_code == 0
        fenced = ("--login-idle", "guarded_blue", "--login-serving", "guarded_green")
        told = guard.run("contract", "mc", *OFFLINE, *fenced, "--permit", "u1/contract")
        assert told.answer["contractedAfter"]["sessions"] == "proven", told
        assert not guard.plane.value(may.format("blue"))
    finally:
        guard.plane.execute("DROP ROLE guarded_blue; DROP ROLE guarded_green")
