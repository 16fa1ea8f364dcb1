"""Releases as the API server returns them, and a cluster of them for the verbs to act on."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from conductor.adapters.release_access import MissingReleaseError
from conductor.cli.options import Terminal
from conductor.cli.style import Style

Json = dict[str, Any]
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def condition(name: str, status: str, reason: str = "AsWanted", message: str = "") -> Json:
    return {"type": name, "status": status, "reason": reason, "message": message}


def stable() -> Json:
    """1.0.0 serves, nothing is under way."""
    return {
        "apiVersion": "maestro-conductor.io/v1alpha1",
        "kind": "ControlPlaneRelease",
        "metadata": {"name": "mc", "namespace": "prod", "generation": 1},
        "spec": {"version": "1.0.0"},
        "status": {
            "observedGeneration": 1,
            "phase": "Stable",
            "reason": "Stable",
            "message": "1.0.0 serves",
            "activeVersion": "1.0.0",
            "activeRevision": "aaaaaaaaaa",
            "traffic": {"current": "blue", "blue": 100, "green": 0},
            "conditions": [
                condition("Ready", "True"),
                condition("Reconciling", "False"),
                condition("Stalled", "False"),
                condition("Healthy", "True"),
                condition("TrafficConverged", "True"),
                condition("RollbackWindowOpen", "False"),
            ],
        },
    }


def soaking() -> Json:
    """1.1.0 has all traffic, 1.0.0 stands by."""
    item = stable()
    item["metadata"]["generation"] = 2
    item["spec"]["version"] = "1.1.0"
    item["status"] |= {
        "observedGeneration": 2,
        "phase": "Soaking",
        "reason": "Soaking",
        "message": "the soak of 10m, in which blue stays able to serve everybody",
        "traffic": {"current": "green", "blue": 0, "green": 100, "switchedAt": "2026-03-01T11:56:48.100Z"},
        "standbyRevision": "aaaaaaaaaa",
        "upgrade": {
            "id": "u2-bbbbbbbbbb",
            "sequence": 2,
            "from": "1.0.0",
            "to": "1.1.0",
            "fromRevision": "aaaaaaaaaa",
            "toRevision": "bbbbbbbbbb",
            "fromColour": "blue",
            "toColour": "green",
            "attempt": 1,
            "startedAt": "2026-03-01T11:55:00.000Z",
            "phaseStartedAt": "2026-03-01T11:56:50.000Z",
            "deadline": "2026-03-01T12:06:50.000Z",
            "lastVerdict": {
                "verdict": "Healthy",
                "requests": 12345,
                "errors": 0,
                "p95Ms": 87.4,
                "at": "2026-03-01T11:59:58.000Z",
            },
            "timeline": [
                {
                    "phase": "Preflight",
                    "startedAt": "2026-03-01T11:55:00.000Z",
                    "endedAt": "2026-03-01T11:55:00.400Z",
                },
                {
                    "phase": "Expanding",
                    "startedAt": "2026-03-01T11:55:00.400Z",
                    "endedAt": "2026-03-01T11:55:12.500Z",
                },
                {
                    "phase": "BringingUp",
                    "startedAt": "2026-03-01T11:55:12.500Z",
                    "endedAt": "2026-03-01T11:55:20.000Z",
                },
                {
                    "phase": "Migrating",
                    "startedAt": "2026-03-01T11:55:20.000Z",
                    "endedAt": "2026-03-01T11:56:31.000Z",
                },
                {
                    "phase": "Verifying",
                    "startedAt": "2026-03-01T11:56:31.000Z",
                    "endedAt": "2026-03-01T11:56:48.000Z",
                },
                {
                    "phase": "Switching",
                    "startedAt": "2026-03-01T11:56:48.000Z",
                    "endedAt": "2026-03-01T11:56:50.000Z",
                },
                {"phase": "Soaking", "startedAt": "2026-03-01T11:56:50.000Z"},
            ],
        },
    }
    item["status"]["conditions"] = [
        condition("Ready", "False", "Soaking"),
        condition("Reconciling", "True", "Soaking"),
        condition("Stalled", "False"),
        condition("Healthy", "True"),
        condition("TrafficConverged", "True"),
        condition("RollbackWindowOpen", "True", "Soaking"),
    ]
    return item


def ramping() -> Json:
    """A tenth of the traffic is on 1.1.0, and Prometheus has too little to say."""
    item = soaking()
    status = item["status"]
    status |= {"phase": "Ramping", "reason": "HoldingRampStep", "message": "step 1 of 2: 10 % for 30 s"}
    status["traffic"] = {"current": "blue", "blue": 90, "green": 10}
    upgrade = status["upgrade"]
    upgrade["timeline"] = [
        *upgrade["timeline"][:5],
        {"phase": "Ramping", "startedAt": "2026-03-01T11:56:48.000Z"},
    ]
    upgrade["lastVerdict"] = {
        "verdict": "NoData",
        "requests": 12,
        "at": "2026-03-01T11:59:58.000Z",
        "message": "12 of the 300 requests that a verdict needs at an error limit of 1 % and a miss rate of 0.1 %",
    }
    return item


def waiting_for_approval() -> Json:
    item = ramping()
    status = item["status"]
    status |= {"phase": "Verifying", "reason": "AwaitingApproval", "message": "an approval of the switch"}
    status["traffic"] = {"current": "blue", "blue": 100, "green": 0}
    status["upgrade"]["timeline"] = [
        *status["upgrade"]["timeline"][:4],
        {"phase": "Verifying", "startedAt": "2026-03-01T11:56:31.000Z"},
    ]
    status["upgrade"].pop("deadline")
    status["conditions"][-1] = condition("RollbackWindowOpen", "False")
    return item


def rolled_back() -> Json:
    """1.2.1-slow met users and was taken back; it is not tried again."""
    item = stable()
    item["metadata"]["generation"] = 4
    item["spec"]["version"] = "1.2.1-slow"
    reason = "Unhealthy: p95 of 1,430 ms is over traffic.switchHealth.p95LatencyMs: 900"
    item["status"] |= {
        "observedGeneration": 4,
        "reason": "RolledBack",
        "message": f"version 1.2.1-slow is not tried again ({reason}); change the spec, or annotate "
        "maestro-conductor.io/retry=u4-cccccccccc",
        "activeVersion": "1.1.0",
        "traffic": {"current": "green", "blue": 0, "green": 100},
        "lastUpgrade": {
            "id": "u4-cccccccccc",
            "from": "1.1.0",
            "to": "1.2.1-slow",
            "outcome": "RolledBack",
            "reason": "Unhealthy",
            "message": "p95 of 1,430 ms is over traffic.switchHealth.p95LatencyMs: 900",
            "startedAt": "2026-03-01T10:00:00.000Z",
            "endedAt": "2026-03-01T10:02:41.000Z",
            "decidedAt": "2026-03-01T10:02:30.000Z",
            "switchedBackAt": "2026-03-01T10:02:30.312Z",
            "timeline": [
                {
                    "phase": "Preflight",
                    "startedAt": "2026-03-01T10:00:00.000Z",
                    "endedAt": "2026-03-01T10:00:00.300Z",
                },
                {
                    "phase": "Soaking",
                    "startedAt": "2026-03-01T10:01:30.000Z",
                    "endedAt": "2026-03-01T10:02:30.000Z",
                },
                {
                    "phase": "RollingBack",
                    "startedAt": "2026-03-01T10:02:30.000Z",
                    "endedAt": "2026-03-01T10:02:41.000Z",
                },
            ],
        },
    }
    item["status"]["conditions"][0] = condition("Ready", "False", "RolledBack")
    item["status"]["conditions"][2] = condition("Stalled", "True", "RolledBack", item["status"]["message"])
    return item


def contracting() -> Json:
    item = soaking()
    message = (
        "Job mc-u2-bbbbbbbbbb-contract-1: lock timeout; end the session that holds executions, then retry"
    )
    item["status"] |= {"phase": "Contracting", "reason": "ContractFailed", "message": message}
    item["status"]["conditions"][2] = condition("Stalled", "True", "ContractFailed", message)
    item["status"]["conditions"][-1] = condition("RollbackWindowOpen", "False", "ContractCommitted")
    return item


def unseen() -> Json:
    item = stable()
    item["metadata"]["generation"] = 2
    item["spec"]["version"] = "1.1.0"
    return item


def contract_pending() -> Json:
    """1.1.0 serves at rest, its contract step was left for later."""
    item = stable()
    item["spec"]["version"] = "1.1.0"
    item["status"] |= {
        "reason": "ContractPending",
        "message": "1.1.0 serves; the contract step of 1.1.0 is still to come",
        "activeVersion": "1.1.0",
        "pendingContract": {
            "id": "u2-bbbbbbbbbb",
            "from": "1.0.0",
            "to": "1.1.0",
            "revision": "bbbbbbbbbb",
            "policy": "Manual",
            "state": "Pending",
            "attempt": 1,
        },
    }
    return item


def contract_failed_at_rest() -> Json:
    """The same, approved, and its second attempt failed."""
    item = contract_pending()
    item["status"] |= {"reason": "ContractFailed", "message": "the contract step of 1.1.0 failed"}
    item["status"]["pendingContract"] |= {"state": "Failed", "attempt": 2}
    item["status"]["conditions"][2]["status"] = "True"
    return item


def target_not_ready() -> Json:
    """1.1.0 is to be taken back, and 1.0.0 cannot take its users."""
    item = soaking()
    item["status"] |= {
        "phase": "RollingBack",
        "reason": "RollbackTargetNotReady",
        "message": "1.0.0 has 0 of 2 pods of api ready",
    }
    item["status"]["conditions"][2] |= {"status": "True", "message": item["status"]["message"]}
    item["status"]["conditions"][5]["status"] = "False"
    return item


def disputed() -> Json:
    """Somebody else keeps pointing a Service elsewhere."""
    item = soaking()
    item["status"] |= {
        "reason": "TrafficRevertedByOthers",
        "message": "Service mc-api: changed by helm 3 times",
    }
    item["status"]["traffic"]["reversions"] = 2
    item["status"]["conditions"][2]["status"] = "True"
    return item


def backfilling() -> Json:
    """1.1.0 is brought up, half of the rows are filled, nobody has met it."""
    item = stable()
    item["metadata"]["generation"] = 2
    item["spec"]["version"] = "1.1.0"
    item["status"] |= {
        "observedGeneration": 2,
        "phase": "Migrating",
        "reason": "RunningJob",
        "message": "Job mc-u2-migrate-1 is running",
        "upgrade": {
            "id": "u2-bbbbbbbbbb",
            "from": "1.0.0",
            "to": "1.1.0",
            "fromColour": "blue",
            "toColour": "green",
            "startedAt": "2026-03-01T11:55:00.000Z",
            "phaseStartedAt": "2026-03-01T11:55:40.000Z",
            "deadline": "2026-03-01T12:55:40.000Z",
            "timeline": [
                {
                    "phase": "Preflight",
                    "startedAt": "2026-03-01T11:55:00.000Z",
                    "endedAt": "2026-03-01T11:55:01.000Z",
                },
                {
                    "phase": "Expanding",
                    "startedAt": "2026-03-01T11:55:01.000Z",
                    "endedAt": "2026-03-01T11:55:20.000Z",
                },
                {
                    "phase": "BringingUp",
                    "startedAt": "2026-03-01T11:55:20.000Z",
                    "endedAt": "2026-03-01T11:55:40.000Z",
                },
                {"phase": "Migrating", "startedAt": "2026-03-01T11:55:40.000Z"},
            ],
        },
        "migrations": {
            "state": "expanded",
            "progress": {
                "job": "mc-u2-migrate-1",
                "rowsDone": 5_000_000,
                "rowsTotal": 10_000_000,
                "rowsPerSecond": 19_000,
                "endsAt": "2026-03-01T12:04:23.000Z",
                "at": "2026-03-01T12:00:00.000Z",
            },
        },
    }
    return item


CASES: dict[str, Callable[[], Json]] = {
    case.__name__: case
    for case in (
        stable,
        soaking,
        ramping,
        waiting_for_approval,
        rolled_back,
        contracting,
        backfilling,
        unseen,
        contract_pending,
        target_not_ready,
    )
}


class StoredReleases:
    """Releases that are held here; `then` are the states that follow one another at each look."""

    def __init__(self, *items: Json, then: tuple[Json, ...] = ()) -> None:
        self.namespace = "prod"
        self.items = {item["metadata"]["name"]: item for item in items}
        self.then = list(then)
        self.written: list[dict[str, str]] = []
        self.stored_config_maps: list[Json] = []

    def get(self, name: str) -> Json:
        if name not in self.items:
            raise MissingReleaseError(
                f"no release {name!r} in namespace {self.namespace!r}; there: {', '.join(self.items)}"
            )
        current = copy.deepcopy(self.items[name])
        if self.then:
            self.items[name] = self.then.pop(0)
        return current

    def releases(self, *, all_namespaces: bool = False) -> list[Json]:
        return list(self.items.values())

    def config_maps(self, labels: str) -> list[Json]:
        key, value = labels.split("=", 1)
        return [
            item
            for item in copy.deepcopy(self.stored_config_maps)
            if item["metadata"]["labels"].get(key) == value
        ]

    def annotate(self, name: str, annotations: dict[str, str]) -> Json:
        self.written.append(annotations)
        return self.get(name)


@pytest.fixture
def out() -> Terminal:
    return Terminal(Style(), io.StringIO())


def written(out: Terminal) -> str:
    assert isinstance(out.out, io.StringIO)
    return out.out.getvalue()
