"""mc's upgrade with its data as stories into which a kill is put, while users write.

To the contract step's end; and through the switch, back by command, and the expanded schema taken back by a person's
word. Where both shapes are there, their checksums are compared and both versions are asked for the same ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from conductor.api import names
from harness.end_state import Roles
from harness.kube import ApiError
from harness.stories import McUpgrade, candidate
from scenarios.halts import COLUMNS, HOLD, IDS, INSTALL, LEDGER, PERMITS, SHAPES
from scenarios.ledger_kills import Json, Point, done_twice, essence, unlike

#: A handful of batches, so that a kill comes between some that are done and some that are not.
HISTORY_ROWS = 10_000
#: How a telling may end in which the database was away: what users then saw may be held against the new version.
GIVEN_UP = frozenset({"Refused", "RolledBack"})


@dataclass
class Contracted(McUpgrade):
    """mc from 1.0.0 to 1.1.0: expand, migrate, switch, contract."""

    name: str = "contracted"
    hold: Point | None = None
    #: The database is killed: the upgrade may be given up for what users saw of it.
    lenient: bool = False
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plane.history_rows = HISTORY_ROWS

    def values(self, *, approval: bool) -> Json:
        # A lock that is held while somebody is killed is slow for users, and no fault of the new version.
        return super().values(approval=approval) | {"traffic.switchHealth.p95LatencyMs": 30_000}

    def set_out(self) -> None:
        super().set_out()
        self.wrong = []
        self.plane.sql(INSTALL)
        if self.hold is not None:
            self.plane.sql(HOLD.format(**vars(self.hold)))

    def _begin_again(self) -> None:
        # What a contract step took from a role would keep the next telling's pods out.
        self.plane.sql("ALTER ROLE mc_blue LOGIN; ALTER ROLE mc_green LOGIN")
        super()._begin_again()

    def follow(self) -> None:
        self.release.wait_upgrade(
            self.version,
            outcomes={"Succeeded"} | (GIVEN_UP if self.lenient else frozenset()),
            deadline_seconds=self.patience_seconds,
        )

    def lines(self) -> list[Json]:
        """The ledger's lines of the upgrade that is told of."""
        told: list[Json] = json.loads(self.plane.sql(LEDGER.format(upgrade=self.release.upgrade_id())))
        return told

    def end(self) -> Json:
        """What is left, in roles: that of every telling must be the same."""
        status = self.release.status()
        last = status["lastUpgrade"]
        lines = self.lines()
        self.wrong += done_twice(lines)
        roles = Roles.of(
            status,
            self.before.colour,
            (self.before.revision, candidate(status, self.before)),
            (self.before.version, self.version),
        )
        namespace, labels = self.namespace, f"{names.LABEL_RELEASE}={self.release.name}"
        services = self.kube.objects("Service", namespace, labels=labels)
        deployments = self.kube.objects("Deployment", namespace, labels=labels)
        found: Json = roles.applied(
            {
                "outcome": last["outcome"],
                "reason": last.get("reason", ""),
                "active": status["activeVersion"],
                "colour": status["traffic"]["current"],
                "conditions": {
                    item["type"]: item["status"]
                    for item in status.get("conditions") or []
                    if item["type"] in ("Ready", "Stalled", "Reconciling")
                },
                "fenced": status.get("fencedLogin", ""),
                "services": {item["metadata"]["name"]: item["spec"]["selector"] for item in services},
                "deployments": {item["metadata"]["name"]: item["spec"]["replicas"] for item in deployments},
                "columns": json.loads(self.plane.sql(COLUMNS)),
                "permits": int(self.plane.sql(PERMITS.format(upgrade=last["id"]))),
                "ledger": essence(lines),
            }
        )
        return found


@dataclass
class TakenBack(Contracted):
    """mc to 1.1.0 until all users are there, back by command, and its schema back by `approve=ID/backout`."""

    name: str = "taken back"

    def values(self, *, approval: bool) -> Json:
        return super().values(approval=approval) | {"soak": "60m"}

    def follow(self) -> None:
        patience = self.patience_seconds
        item = self.release.wait(
            self._soaks_or_ended, what="all users on the new version", deadline_seconds=patience
        )
        if not item["status"].get("upgrade"):
            super().follow()
            return
        self.wrong += unlike(self._shapes(), "before the rollback")
        self.wrong += self._read_by_both()
        upgrade = self.release.command("rollback")
        self.release.wait_upgrade(self.version, outcomes=("RolledBack",), deadline_seconds=patience)
        self.wrong += unlike(self._shapes(), "after the rollback")
        self.release.annotate("approve", f"{upgrade}/backout")
        self.release.wait(
            lambda item: not item["status"].get("pendingBackout") and not item["status"].get("upgrade"),
            what="the expanded schema to be taken back", deadline_seconds=patience,
        )  # fmt: skip

    def _soaks_or_ended(self, item: Json) -> bool:
        status = item["status"]
        last = status.get("lastUpgrade") or {}
        if not status.get("upgrade") and last.get("to") == self.version:
            return True
        soaks = (status["phase"], status["reason"]) == ("Soaking", "Soaking")
        return soaks and "rollback window open" in status["message"]

    def _shapes(self) -> Json:
        told: Json = json.loads(self.plane.sql(SHAPES))
        return told

    def _read_by_both(self) -> list[str]:
        """Whether a pod of either version answers the same for the same ids."""
        wrong = []
        answers: dict[str, Json] = {}
        ids: list[str] = json.loads(self.plane.sql(IDS))
        for colour in ("blue", "green"):
            asked = {
                names.LABEL_RELEASE: self.release.name,
                names.LABEL_COMPONENT: "api",
                names.LABEL_COLOUR: colour,
            }
            labels = ",".join(f"{label}={value}" for label, value in asked.items())
            pods = [
                pod["metadata"]["name"]
                for pod in self.kube.objects("Pod", self.namespace, labels=labels)
                if "deletionTimestamp" not in pod["metadata"]
            ]
            if not pods:
                wrong.append(f"before the rollback: no pod of {colour} is left to be asked")
                continue
            for id_ in ids:
                path = f"/api/v1/namespaces/{self.namespace}/pods/{pods[0]}:8080/proxy/executions/{id_}"
                try:
                    answer = self.kube.request("GET", path)
                except ApiError as error:
                    wrong.append(
                        f"before the rollback: {colour} does not answer for {id_}: {error.message}"[:300]
                    )
                    continue
                told = {key: answer.get(key) for key in ("id", "tenant", "owner", "name")}
                if answers.setdefault(id_, told) != told:
                    wrong.append(f"before the rollback: {colour} says {told}, the other one {answers[id_]}")
        return wrong[:5]


STORIES: dict[str, type[Contracted]] = {"contracted": Contracted, "taken back": TakenBack}
