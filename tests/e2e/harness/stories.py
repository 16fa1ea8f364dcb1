"""Stories that a crash is put into: each can be told again and again in one namespace, and ends in the same state.

`ask` begins the part whose writes are crash points, `follow` waits for its end and for the operator to be at rest,
`end` is what is left. What runs differs from telling to telling by one annotation of the pods, so that each is an
upgrade to a revision that was never there before.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness import podinfo
from harness.end_state import LABEL_RELEASE, LABEL_REVISION, Roles, end_state
from harness.kube import Kube, Object
from harness.load_run import LoadPlan
from harness.mc_install import HELM_RELEASE, Mc
from harness.operator_install import helm
from harness.podinfo import CPU_REQUEST, NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import KIND, Release
from harness.waiting import wait_for_objects, wait_gone

#: How long the part that is asked for may take; what is too long for this has failed.
PATIENCE_SECONDS = 400.0
#: The same with a crash at every write: each start takes seconds, and every wait of the operator begins anew.
STORM_PATIENCE_SECONDS = 1500.0
INSTALL_SECONDS = 180.0
#: As many revisions as the operator keeps, so that every upgrade ends with pruning one.
HISTORY = 5
LEDGER = """
SELECT coalesce(json_agg(told ORDER BY seq), '[]') FROM (
    SELECT seq, phase, event, version, state, attempt, rows_done FROM maestro_conductor.events
    WHERE upgrade = '{upgrade}'
) AS told
"""

Json = dict[str, Any]


class Story(Protocol):
    """One story in one namespace."""

    name: str
    kube: Kube
    patience_seconds: float

    @property
    def release(self) -> Release: ...

    def prepare(self) -> None:
        """Once: bring it to where its first telling begins."""

    def set_out(self) -> None:
        """Before each telling: everything that is not part of it."""

    def ask(self) -> None: ...

    def follow(self) -> None: ...

    def end(self) -> Json: ...

    def load(self) -> LoadPlan: ...


@dataclass
class Before:
    """What served when a telling began."""

    revision: str
    version: str
    colour: str

    @classmethod
    def of(cls, status: Json) -> Before:
        return cls(status["activeRevision"], status["activeVersion"], status["traffic"]["current"])


@dataclass
class PodinfoUpgrade:
    """podinfo from one version to the other, through all phases, to the end of its clean-up."""

    kube: Kube
    namespace: str
    name: str = "upgrade"
    options: PodinfoOptions = field(
        default_factory=lambda: PodinfoOptions(
            replicas=2, soak="3s", window="10s", bring_up="10m", verify="10m"
        )
    )
    told: int = 0
    patience_seconds: float = PATIENCE_SECONDS

    def __post_init__(self) -> None:
        self.before = Before("", OLD_VERSION, "blue")

    @property
    def release(self) -> Release:
        return Release(self.kube, self.namespace, podinfo.NAME)

    @property
    def version(self) -> str:
        """What is upgraded to."""
        return NEW_VERSION if self.before.version == OLD_VERSION else OLD_VERSION

    def spec(self, version: str) -> Json:
        # A wide limit needs few requests: how sure a verdict is belongs to other tests.
        return changed(
            podinfo.release_spec(version, self.options),
            traffic__switchHealth__errorRate=0.05,
            traffic__switchHealth__missRate=0.05,
            traffic__switchHealth__p95LatencyMs=5000,
            components__0__template__metadata__annotations__telling=str(self.told),
        )

    def prepare(self) -> None:
        self.release.apply(self.spec(OLD_VERSION))
        self.release.wait_settled(OLD_VERSION, deadline_seconds=INSTALL_SECONDS)
        make_history(self.kube, self.release, HISTORY)

    def set_out(self) -> None:
        self.before = Before.of(self.release.status())
        self.told += 1

    def ask(self) -> None:
        self.release.apply(self.spec(self.version))

    def follow(self) -> None:
        self.release.wait_upgrade(
            self.version, outcomes=("Succeeded",), deadline_seconds=self.patience_seconds
        )

    def end(self) -> Json:
        status = self.release.status()
        roles = Roles.of(
            status,
            self.before.colour,
            (self.before.revision, candidate(status, self.before)),
            (self.before.version, self.version),
        )
        return end_state(self.kube, self.namespace, self.release.name, roles)

    def load(self) -> LoadPlan:
        return podinfo.load_plan(
            self.namespace, **(podinfo.SPARING_USERS | {"one_shot_clients": 20, "rate": 60})
        )


@dataclass
class PodinfoRollback(PodinfoUpgrade):
    """podinfo is taken back by command out of a soak in which every client has moved."""

    name: str = "rollback"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options = PodinfoOptions(replicas=2, soak="60m", window="10s", bring_up="10m", verify="10m")

    def prepare(self) -> None:
        self.release.apply(self.spec(OLD_VERSION))
        self.release.wait_settled(OLD_VERSION, deadline_seconds=INSTALL_SECONDS)

    def set_out(self) -> None:
        super().set_out()
        self.release.apply(self.spec(self.version))
        self.release.wait_shed(deadline_seconds=self.patience_seconds)

    def ask(self) -> None:
        self.release.command("rollback")

    def follow(self) -> None:
        self.release.wait_upgrade(
            self.version, outcomes=("RolledBack",), deadline_seconds=self.patience_seconds
        )


@dataclass
class PodinfoRoundTrip(PodinfoRollback):
    """The same as one telling: the way there counts as well as the way back."""

    name: str = "round trip"

    def set_out(self) -> None:
        PodinfoUpgrade.set_out(self)

    def ask(self) -> None:
        self.release.apply(self.spec(self.version))
        self.release.wait_shed(deadline_seconds=self.patience_seconds)
        self.release.command("rollback")


@dataclass
class McRefusal:
    """mc with a migration is given up before the switch: green and the expand step are undone."""

    kube: Kube
    namespace: str
    name: str = "refusal"
    told: int = 0
    patience_seconds: float = PATIENCE_SECONDS
    #: Whether its database has a streaming one that the release names.
    standby: bool = False

    def __post_init__(self) -> None:
        self.before = Before("", "1.0.0", "blue")
        self.plane = Mc(
            self.kube,
            self.namespace,
            history_rows=2000,
            values=self.values(approval=False),
            standby=self.standby,
        )

    @property
    def release(self) -> Release:
        return self.plane.release

    @property
    def version(self) -> str:
        return "1.1.0"

    def values(self, *, approval: bool) -> Json:
        return {
            "api.replicas": 2,
            "api.resources.requests.cpu": CPU_REQUEST,
            "worker.resources.requests.cpu": CPU_REQUEST,
            "api.podAnnotations": {"telling": str(self.told)},
            "soak": "3s",
            "deadlines.bringUp": "10m",
            "deadlines.verify": "10m",
            "approval.beforeSwitch": approval,
            "traffic.switchHealth.window": "10s",
            "traffic.switchHealth.errorRate": 0.05,
            "traffic.switchHealth.missRate": 0.05,
            "traffic.switchHealth.p95LatencyMs": 5000,
        }

    def prepare(self) -> None:
        self.plane.install()

    def set_out(self) -> None:
        self.before = Before.of(self.release.status())
        self.told += 1
        self.plane.values = self.values(approval=True)

    def ask(self) -> None:
        self.plane.ask_for(self.version)

    def follow(self) -> None:
        self.release.wait(
            lambda item: item["status"]["reason"] == "AwaitingApproval",
            what="the approval to be awaited", deadline_seconds=self.patience_seconds,
        )  # fmt: skip
        self.release.command("abort")
        self.release.wait_upgrade(self.version, outcomes=("Aborted",), deadline_seconds=self.patience_seconds)

    def end(self) -> Json:
        status = self.release.status()
        roles = Roles.of(
            status,
            self.before.colour,
            (self.before.revision, candidate(status, self.before)),
            (self.before.version, self.version),
        )
        found = end_state(self.kube, self.namespace, self.release.name, roles)
        return found | {"ledger": ledger(self.plane, status["lastUpgrade"]["id"])}

    def load(self) -> LoadPlan:
        return self.plane.load(rate=50, keep_alive_clients=20, one_shot_clients=20)


@dataclass
class McUpgrade(McRefusal):
    """mc from 1.0.0 to 1.1.0 with its data: expand, migrate, contract. Each telling begins with an empty database."""

    name: str = "migration"

    def prepare(self) -> None:
        self.plane.values = self.values(approval=False) | {"deletionPolicy": "Delete"}
        self.plane.install()

    def set_out(self) -> None:
        if self.told:
            self._begin_again()
        self.before = Before.of(self.release.status())
        self.told += 1

    def _begin_again(self) -> None:
        helm("uninstall", HELM_RELEASE, "--namespace", self.namespace)
        wait_gone(self.kube, KIND, self.release.name, self.namespace, deadline_seconds=INSTALL_SECONDS)
        labels = f"{LABEL_RELEASE}={self.release.name}"
        for pod in self.kube.objects("Pod", self.namespace, labels=labels):
            self.kube.delete("Pod", pod["metadata"]["name"], self.namespace, grace_seconds=0)
        wait_for_objects(
            self.kube, "Pod", self.namespace, lambda pods: not pods, labels=labels, what="no pod of mc left"
        )
        schemas = "DROP SCHEMA IF EXISTS {0} CASCADE"
        self.plane.sql(
            f"{schemas.format('public')}; {schemas.format('maestro_conductor')}; CREATE SCHEMA public"
        )
        self.plane.install()

    def ask(self) -> None:
        self.plane.ask_for(self.version)

    def follow(self) -> None:
        self.release.wait_upgrade(
            self.version, outcomes=("Succeeded",), deadline_seconds=self.patience_seconds
        )


def candidate(status: Json, before: Before) -> str:
    """The revision that a telling was about, wherever it ended."""
    active: str = status["activeRevision"]
    return active if active != before.revision else str(status.get("failedDigest") or "")


def ledger(plane: Mc, upgrade: str) -> list[Json]:
    """The ledger's lines of one upgrade; of batches only that each went further than the one before.

    Raises AssertionError for a batch that was done twice.
    """
    told: list[Json] = json.loads(plane.sql(LEDGER.format(upgrade=upgrade)))
    rows = [line["rows_done"] for line in told if line["event"] == "batch"]
    assert rows == sorted(set(rows)), f"batches of {upgrade} were done twice: {rows}"
    return [
        {key: line[key] for key in ("phase", "event", "version", "state", "attempt")}
        for line in told
        if line["event"] != "batch"
    ]


def make_history(kube: Kube, release: Release, count: int) -> None:
    """Older revisions as finished upgrades leave them: a record each, and Deployments without a pod."""
    labels = f"{LABEL_RELEASE}={release.name}"
    for number in range(count):
        revision = hashlib.sha256(f"{release.namespace}/{number}".encode()).hexdigest()[:10]
        for kind in ("ControllerRevision", "Deployment"):
            for model in kube.objects(kind, release.namespace, labels=labels):
                if model["metadata"]["labels"][LABEL_REVISION] == release.status()["activeRevision"]:
                    kube.apply(_aged(kind, model, revision))


def _aged(kind: str, model: Object, revision: str) -> Object:
    current = model["metadata"]["labels"][LABEL_REVISION]
    renamed = _replaced(current, revision)
    kept = {key: copy.deepcopy(model[key]) for key in ("data", "revision", "spec") if key in model}
    if kind == "Deployment":
        kept["spec"]["replicas"] = 0
    metadata = {key: model["metadata"][key] for key in ("name", "namespace", "labels")}
    aged: Object = renamed({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, **kept})
    return aged


def _replaced(old: str, new: str) -> Callable[[Any], Any]:
    def visit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: visit(item) for key, item in value.items()}
        if isinstance(value, list):
            return [visit(item) for item in value]
        return value.replace(old, new) if isinstance(value, str) else value

    return visit
