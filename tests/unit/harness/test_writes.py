"""Names of what the operator writes: equal for equal steps, whatever hashes, ids and colours a run has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.writes import Call, Namer, Write

NAMESPACE = "/namespaces/prod"
RELEASE = f"/apis/maestro-conductor.io/v1alpha1{NAMESPACE}/controlplanereleases/mc/status"
MERGE = "application/merge-patch+json"
OLD, NEW = "0123456789", "abcdef0123"


def call(
    method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
) -> Call:
    return Call(method, path, query, content_type, json.dumps(body).encode() if body is not None else b"")


def status(phase: str, reason: str, *, intent: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    upgrade = {
        "id": "u12345678",
        "fromRevision": OLD,
        "toRevision": NEW,
        "fromColour": "blue",
        "toColour": "green",
    }
    if intent:
        upgrade["intent"] = intent  # type: ignore[assignment]
    return {"status": {"phase": phase, "reason": reason, "upgrade": upgrade, **more}}


def written(namer: Namer, *bodies: dict[str, Any]) -> list[str]:
    """The labels of status writes that were accepted one after the other."""
    labels = []
    for body in bodies:
        write = namer.name(call("PUT", RELEASE, body))
        assert write is not None
        namer.accepted(write)
        labels.append(write.label)
    return labels


def named(namer: Namer, given: Call) -> Write:
    found = namer.name(given)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "given",
    [
        call("GET", f"/api/v1{NAMESPACE}/pods", labelSelector="a=b"),
        call("GET", f"/api/v1{NAMESPACE}/pods", watch="true"),
        call(
            "PATCH",
            f"/apis/apps/v1{NAMESPACE}/deployments/x",
            {},
            "application/apply-patch+yaml",
            dryRun="All",
        ),
        call("POST", "/version"),
    ],
)
def test_what_changes_nothing_has_no_name(given: Call) -> None:
    assert Namer().name(given) is None


def test_two_runs_of_one_upgrade_have_the_same_names() -> None:
    def run(old: str, new: str, upgrade: str, colours: tuple[str, str]) -> list[str]:
        namer = Namer()
        started = status("BringingUp", "CreatingGreen")
        started["status"]["upgrade"] |= {
            "id": upgrade, "fromRevision": old, "toRevision": new, "fromColour": colours[0], "toColour": colours[1],
        }  # fmt: skip
        written(namer, started)
        deployment = f"/apis/apps/v1{NAMESPACE}/deployments/mc-api-{colours[1]}-{new}"
        pod = f"/api/v1{NAMESPACE}/pods/mc-api-{colours[0]}-{old}-6d5f8c9b7-x2x4z"
        calls = [
            call("PATCH", deployment, {"kind": "Deployment"}, "application/apply-patch+yaml", force="true"),
            call("PATCH", deployment, {"spec": {"replicas": 3}}, MERGE),
            call("POST", f"/apis/batch/v1{NAMESPACE}/jobs", {"metadata": {"name": f"mc-{upgrade}-expand-1"}}),
            call("DELETE", pod, {"preconditions": {"uid": "x"}}),
            call(
                "PATCH",
                f"/api/v1{NAMESPACE}/services/mc-api",
                [{"op": "test"}],
                "application/json-patch+json",
            ),
        ]
        return [named(namer, item).label for item in calls]

    first = run(OLD, NEW, "u12345678", ("blue", "green"))
    assert first == run("9999999999", "8888888888", "uabcdef01", ("green", "blue"))
    assert first == [
        "apply Deployment/mc-api-<to>-<to>",
        "merge Deployment/mc-api-<to>-<to> replicas=3",
        "create Job/mc-<upgrade>-expand-1",
        "delete Pod/mc-api-<from>-<from>-<pod>",
        "patch Service/mc-api",
    ]


def test_an_intent_is_named_by_its_effect_and_a_refresh_is_no_transition() -> None:
    intent = {"effect": "SwitchServices", "subject": "mc-api", "at": "2026-03-01T10:00:00.000Z"}
    labels = written(
        Namer(),
        status("Switching", "Started", epoch=1),
        status("Switching", "MovingTraffic", intent=intent, epoch=1),
        status("Switching", "ProvingRouting", intent=intent, epoch=1),
        status("Switching", "ProvingRouting", intent=intent, epoch=1, message="7 of 10"),
        status("Switching", "ProvingRouting", intent=intent, epoch=2, message="7 of 10"),
        status("Switching", "MovingTraffic", intent=intent | {"at": "2026-03-01T10:00:09.000Z"}, epoch=2),
    )
    assert labels == [
        "status Switching/Started",
        "status Switching/MovingTraffic intends SwitchServices mc-api",
        "status Switching/ProvingRouting",
        "status Switching/ProvingRouting (again)",
        "status Switching/ProvingRouting (new epoch)",
        "status Switching/MovingTraffic intends SwitchServices mc-api",
    ]


def test_pods_in_an_intent_have_no_names_and_a_subject_that_was_cut_says_so() -> None:
    pod = f"Pod/mc-api-blue-{OLD}-6d5f8c9b7-"
    claim = {"effect": "ClaimObjects", "at": "2026-03-01T10:00:00.000Z"}
    few = claim | {"subject": f"Service/mc-api,{pod}x2x4z,{pod}abcde"}
    many = claim | {"subject": ",".join(f"{pod}{number:05}" for number in range(20))[:250]}
    labels = written(
        Namer(), status("Soaking", "Claiming", intent=few), status("Soaking", "Claiming", intent=many)
    )
    assert labels == [
        "status Soaking/Claiming intends ClaimObjects Service/mc-api,Pod/mc-api-<from>-<from>-<pod>",
        "status Soaking/Claiming intends ClaimObjects Pod/mc-api-<from>-<from>-<pod>,…",
    ]


def test_a_status_that_was_refused_is_no_former_one() -> None:
    namer = Namer()
    refused = named(namer, call("PUT", RELEASE, status("Switching", "Started")))
    again = named(namer, call("PUT", RELEASE, status("Switching", "Started")))
    assert refused.label == again.label == "status Switching/Started"


def test_effects_are_counted_and_waiting_is_not() -> None:
    namer = Namer()
    assert named(namer, call("DELETE", f"/api/v1{NAMESPACE}/pods/x")).counted
    assert not named(namer, call("PUT", RELEASE, status("Soaking", "Soaking"))).counted
    event = call("POST", f"/apis/events.k8s.io/v1{NAMESPACE}/events", {"reason": "Started"})
    assert named(namer, event) == Write("create Event Started", False, "prod")


def test_only_a_lease_that_changes_hands_is_a_step() -> None:
    namer = Namer()
    path = f"/apis/coordination.k8s.io/v1{NAMESPACE}/leases"

    def lease(
        method: str, holder: str, transitions: int, name: str = "one", *, refused: bool = False
    ) -> tuple[str, bool]:
        body = {
            "metadata": {"name": name},
            "spec": {"holderIdentity": holder, "leaseTransitions": transitions},
        }
        write = named(namer, call(method, path if method == "POST" else f"{path}/{name}", body))
        if not refused:
            namer.accepted(write)
        return write.label, write.renewal

    taken, renewed = ("acquire Lease", False), ("renew Lease", True)
    assert lease("POST", "a", 1) == taken
    assert lease("PUT", "a", 1) == renewed
    assert lease("PUT", "a", 1, name="two") == taken
    assert lease("PUT", "b", 2, refused=True) == taken
    assert lease("PUT", "b", 2) == taken
    assert lease("PUT", "b", 2) == renewed
    assert lease("PUT", "", 2) == ("give back Lease", False)
    members = call("PUT", f"{path}/one-members", {"metadata": {"name": "one-members"}, "spec": {}})
    assert named(namer, members).renewal


def test_receipts_are_kept_in_the_background() -> None:
    namer = Namer()
    written(namer, status("Soaking", "Soaking"))
    patch = call(
        "PATCH", f"/api/v1{NAMESPACE}/configmaps/mc-receipts-6c1e-0", [], "application/json-patch+json"
    )
    assert named(namer, patch) == Write("patch receipts in Soaking", False, "prod")


def test_at_rest_a_revision_is_the_active_one_or_another() -> None:
    namer = Namer()
    rest = {
        "status": {
            "phase": "Stable",
            "reason": "Stable",
            "activeRevision": NEW,
            "traffic": {"current": "green"},
        }
    }
    written(namer, rest)
    delete = call("DELETE", f"/apis/apps/v1{NAMESPACE}/deployments/mc-api-blue-{OLD}")
    assert named(namer, delete).label == "delete Deployment/mc-api-<idle>-<other>"
    apply = call(
        "PATCH",
        f"/apis/apps/v1{NAMESPACE}/deployments/mc-api-green-{NEW}",
        {},
        "application/apply-patch+yaml",
    )
    assert named(namer, apply).label == "apply Deployment/mc-api-<active>-<active>"
