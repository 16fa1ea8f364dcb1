"""End states: equal for two runs of one story in other colours, unequal where anything that counts differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from harness.end_state import Roles, differences, normalised, normalised_status

A = {"old": "0123456789", "new": "abcdef0123", "id": "u12345678", "at": "2026-03-01T10:00:00Z"}
B = {"old": "9999999999", "new": "8888888888", "id": "uabcdef01", "at": "2026-03-02T11:00:00Z"}


def status(names: dict[str, str], colours: tuple[str, str], epoch: int) -> dict[str, Any]:
    phases = [{"phase": phase, "startedAt": names["at"]} for phase in ("Preflight", "Switching")]
    return {
        "phase": "Stable",
        "reason": "Stable",
        "epoch": epoch,
        "sequence": epoch,
        "observedGeneration": epoch,
        "activeRevision": names["new"],
        "activeVersion": "6.9.1",
        "traffic": {
            "current": colours[1],
            colours[0]: 0,
            colours[1]: 100,
            "switchedAt": names["at"],
            "reversions": 0,
            "intended": {"podinfo": f"{1000 + epoch}"},
        },
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Stable", "lastTransitionTime": names["at"]}
        ],
        "lastUpgrade": {
            "id": names["id"],
            "from": "6.9.0",
            "to": "6.9.1",
            "outcome": "Succeeded",
            "timeline": phases,
        },
    }


def deployment(names: dict[str, str], colour: str, replicas: int = 0) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"podinfo-web-{colour}-{names['old']}",
            "labels": {"maestro-conductor.io/revision": names["old"], "maestro-conductor.io/colour": colour},
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            "resourceVersion": names["at"],
        },
        "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"image": "podinfo:6.9.0"}}},
    }


def roles(names: dict[str, str], before: str, versions: tuple[str, str] = ("6.9.0", "6.9.1")) -> Roles:
    return Roles.of({"lastUpgrade": {"id": names["id"]}}, before, (names["old"], names["new"]), versions)


def shown(names: dict[str, str], colours: tuple[str, str], epoch: int, **changes: Any) -> Any:
    found = {
        "deployment": normalised("Deployment", deployment(names, colours[0])),
        "status": normalised_status(status(names, colours, epoch) | changes),
    }
    return roles(names, colours[0]).applied(found)


def test_runs_in_other_colours_end_alike() -> None:
    assert list(differences(shown(A, ("blue", "green"), 3), shown(B, ("green", "blue"), 9))) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"phase": "Soaking"}, "status.phase"),
        ({"activeRevision": B["old"]}, "status.activeRevision"),
        ({"failedDigest": B["new"]}, "status.failedDigest"),
        ({"upgrade": {"id": B["id"]}}, "status.upgrade"),
        (
            {"conditions": [{"type": "Ready", "status": "False", "reason": "Stable"}]},
            "status.conditions.Ready",
        ),
    ],
)
def test_what_counts_is_told_apart(changes: dict[str, Any], where: str) -> None:
    found = list(differences(shown(A, ("blue", "green"), 3), shown(B, ("green", "blue"), 9, **changes)))
    assert len(found) == 1
    assert found[0].startswith(where)


def test_a_deployment_of_another_size_or_template_is_told_apart() -> None:
    one = normalised("Deployment", deployment(A, "blue"))
    larger = normalised("Deployment", deployment(A, "blue", replicas=2))
    assert list(differences(one, larger)) == ["replicas is 2, without a crash 0"]
    edited = copy.deepcopy(deployment(A, "blue"))
    edited["spec"]["template"]["spec"]["image"] = "podinfo:latest"
    assert len(list(differences(one, normalised("Deployment", edited)))) == 1


def test_the_colour_of_the_first_install_has_no_role() -> None:
    def record(names: dict[str, str], colour: str) -> Any:
        spec = {"traffic": {"current": "blue", "provider": "Service"}}
        kept = normalised("ControllerRevision", {"metadata": {"name": "x"}, "data": {"spec": spec}})
        return roles(names, colour).applied(kept)

    assert record(A, "blue") == record(B, "green")


def test_a_version_that_begins_like_another_keeps_its_role() -> None:
    both = roles(A, "blue", ("1.2.1", "1.2.1-slow")).applied({"from": "1.2.1", "to": "mc:1.2.1-slow"})
    assert both == {"from": "<from-version>", "to": "mc:<to-version>"}


def test_where_the_log_stood_before_a_contract_step_is_each_run_s_own() -> None:
    def run(lsn: str, sessions: str) -> Any:
        after = {"lsn": lsn, "at": "2026-01-01T00:00:00Z", "sessions": sessions, "pitr": "unverified"}
        return shown(A, ("blue", "green"), 3, contractedAfter=after)

    assert list(differences(run("0/1", "proven"), run("0/2", "proven"))) == []
    [told] = differences(run("0/1", "proven"), run("0/1", "unproven"))
    assert told.startswith("status.contractedAfter.sessions")


def job(line: int, image: str = "mc-migrations:1.1.0", attempt: int = 1) -> dict[str, Any]:
    args = ["migrate", "--attempt", str(attempt), "--ledger-line", str(line), "--to", "1.1.0"]
    return {
        "metadata": {
            "name": "mc-u1-migrate-1",
            "annotations": {"maestro-conductor.io/digest": f"digest-of-{line}-{image}"},
        },
        "spec": {"template": {"spec": {"containers": [{"image": image, "args": args}]}}},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }


def test_how_long_the_ledger_was_is_each_run_s_own() -> None:
    assert list(differences(normalised("Job", job(6)), normalised("Job", job(14)))) == []


@pytest.mark.parametrize("other", [job(6, image="mc-migrations:1.0.0"), job(6, attempt=2)])
def test_a_job_of_another_image_or_attempt_is_told_apart(other: dict[str, Any]) -> None:
    assert len(list(differences(normalised("Job", job(6)), normalised("Job", other)))) == 1


@pytest.mark.parametrize(("done", "differ"), [(2065, 0), (2064, 1)])
def test_how_many_rows_were_done_does_not_count_but_that_all_were(done: int, differ: int) -> None:
    def end(line: int, done: int, total: int) -> dict[str, Any]:
        return normalised_status(
            {"migrations": {"state": "migrated", "ledgerLine": line, "rowsDone": done, "rowsTotal": total}}
        )

    assert len(list(differences(end(19, 3229, 3229), end(10, done, 2065)))) == differ
