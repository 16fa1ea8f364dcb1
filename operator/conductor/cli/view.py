"""A release as the CLI shows it: read from the object leniently, so that a newer operator's status still shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

UPGRADE_PHASES = (
    "Preflight",
    "Expanding",
    "BringingUp",
    "Migrating",
    "Verifying",
    "Ramping",
    "Switching",
    "Soaking",
    "Closing",
    "Contracting",
)
BEFORE_THE_SWITCH = frozenset(UPGRADE_PHASES[: UPGRADE_PHASES.index("Ramping")]) | {
    "Pending",
    "Bootstrapping",
}
CONTRACT_WAITS = frozenset({"ContractPending", "SessionsUnproven"})
PREVIEWED_PHASES = frozenset({"Verifying", "Ramping"})
AFTER_VERIFYING = frozenset(UPGRADE_PHASES[UPGRADE_PHASES.index("Ramping") :])
WAY_BACK = frozenset({"RollingBack", "BackingOut"})
WAITING_FOR_A_START = frozenset({"Paused"})
WAYS_OUT = {"RollbackTargetNotReady": "stay", "BackoutFailed": "keep-expanded"}
FAILED_OUTCOMES = frozenset({"RolledBack", "Refused", "Aborted"})


@dataclass(frozen=True)
class Step:
    """One phase that was entered."""

    phase: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Health:
    verdict: str
    requests: int | None
    errors: int | None
    p95_ms: float | None
    at: datetime | None
    message: str


@dataclass(frozen=True)
class Condition:
    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class Upgrade:
    """The upgrade under way, or the last one."""

    id: str
    from_version: str
    to_version: str
    outcome: str
    reason: str
    message: str
    started: datetime | None
    ended: datetime | None
    phase_started: datetime | None
    deadline: datetime | None
    decided: datetime | None
    switched_back: datetime | None
    from_colour: str
    to_colour: str
    health: Health | None
    steps: tuple[Step, ...]
    attempt: int


@dataclass(frozen=True)
class Pending:
    """What an upgrade left for later: its contract step, or the taking back of its expand step."""

    id: str
    from_version: str
    to_version: str
    state: str
    attempt: int


@dataclass(frozen=True)
class Progress:
    """Of the backfill that runs."""

    rows_done: int
    rows_total: int
    rows_per_second: int | None
    ends_at: datetime | None


@dataclass(frozen=True)
class Replica:
    """A standby that the release names, as the last migration Job found it."""

    endpoint: str
    state: str
    lsn: str
    ledger_line: int | None
    timeline: int | None


@dataclass(frozen=True)
class Servers:
    """Where the ledger is kept and who has it too."""

    verb: str
    ledger_line: int | None
    system_id: str
    timeline: int | None
    replicas: tuple[Replica, ...]


class PreviewState(StrEnum):
    TO_COME = "to come"
    BEING_WRITTEN = "being written"
    OFFERED = "offered"
    LEFT_OUT = "left out"
    ENDED = "ended"


@dataclass(frozen=True)
class Preview:
    """By what requests ask for that version, and what came of it; `why` it was left out."""

    mark: str
    version: str
    state: PreviewState
    why: str


@dataclass(frozen=True)
class Release:
    namespace: str
    name: str
    version: str
    target: str
    seen: bool
    phase: str
    reason: str
    message: str
    paused: bool
    colour: str
    shares: dict[str, int]
    conditions: dict[str, Condition]
    upgrade: Upgrade | None
    last: Upgrade | None
    pending: Pending | None
    kept_schema: Pending | None
    reversions: int
    progress: Progress | None = None
    servers: Servers | None = None
    preview: Preview | None = None
    #: Ways through Gateways that are asked after the switch; None while that is not decided, or nothing to ask.
    asked_ways: tuple[str, ...] | None = None

    @property
    def under_way(self) -> bool:
        return self.upgrade is not None or not self.seen or self.phase == "Contracting"

    @property
    def at_rest(self) -> bool:
        """Nothing is under way and nothing will begin by itself."""
        return not self.under_way and (
            self.stalled or (self.phase == "Stable" and self.reason not in WAITING_FOR_A_START)
        )

    @property
    def stalled(self) -> bool:
        return self.holds("Stalled")

    def holds(self, condition: str) -> bool:
        found = self.conditions.get(condition)
        return found is not None and found.status == "True"

    @property
    def awaits_approval(self) -> str:
        """The step that an upgrade waits for a person with: switch, contract, or nothing."""
        if self.upgrade is None:
            return ""
        if self.reason in CONTRACT_WAITS:
            return "contract"
        if self.reason != "AwaitingApproval":
            return ""
        return "switch" if self.phase in BEFORE_THE_SWITCH else "contract"

    @property
    def way_out(self) -> str:
        """What a person may approve where an upgrade that is taken back cannot go on."""
        return WAYS_OUT.get(self.reason, "") if self.upgrade is not None and self.stalled else ""


def instant(value: object) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return "" if value is None else str(value)


def read_health(data: Mapping[str, Any] | None) -> Health | None:
    if not data:
        return None
    return Health(
        verdict=text(data, "verdict"),
        requests=data.get("requests"),
        errors=data.get("errors"),
        p95_ms=data.get("p95Ms"),
        at=instant(data.get("at")),
        message=text(data, "message"),
    )


def read_upgrade(data: Mapping[str, Any] | None) -> Upgrade | None:
    if not data:
        return None
    return Upgrade(
        id=text(data, "id"),
        from_version=text(data, "from"),
        to_version=text(data, "to"),
        outcome=text(data, "outcome"),
        reason=text(data, "reason"),
        message=text(data, "message"),
        started=instant(data.get("startedAt")),
        ended=instant(data.get("endedAt")),
        phase_started=instant(data.get("phaseStartedAt")),
        deadline=instant(data.get("deadline")),
        decided=instant(data.get("decidedAt")),
        switched_back=instant(data.get("switchedBackAt")),
        from_colour=text(data, "fromColour"),
        to_colour=text(data, "toColour"),
        health=read_health(data.get("lastVerdict")),
        steps=tuple(
            Step(text(step, "phase"), instant(step.get("startedAt")), instant(step.get("endedAt")))
            for step in data.get("timeline") or ()
        ),
        attempt=int(data.get("attempt") or 1),
    )


def read_pending(data: Mapping[str, Any] | None) -> Pending | None:
    if not data:
        return None
    return Pending(
        id=text(data, "id"),
        from_version=text(data, "from"),
        to_version=text(data, "to"),
        state=text(data, "state") or "Pending",
        attempt=int(data.get("attempt") or 1),
    )


def read_progress(status: Mapping[str, Any]) -> Progress | None:
    """None unless a backfill runs: what stands there from the last one is history."""
    data = (status.get("migrations") or {}).get("progress")
    if not data or text(status, "phase") != "Migrating":
        return None
    return Progress(
        rows_done=int(data.get("rowsDone") or 0),
        rows_total=int(data.get("rowsTotal") or 0),
        rows_per_second=data.get("rowsPerSecond"),
        ends_at=instant(data.get("endsAt")),
    )


def read_servers(status: Mapping[str, Any]) -> Servers | None:
    """None where the release names no replica: then there is nobody to compare with."""
    data = status.get("migrations") or {}
    if not data.get("replicas"):
        return None
    return Servers(
        verb=text(data, "verb"),
        ledger_line=data.get("ledgerLine"),
        system_id=text(data, "systemId"),
        timeline=data.get("timeline"),
        replicas=tuple(
            Replica(
                endpoint=text(one, "endpoint"),
                state=text(one, "state"),
                lsn=text(one, "lsn"),
                ledger_line=one.get("ledgerLine"),
                timeline=one.get("timeline"),
            )
            for one in data["replicas"]
        ),
    )


def read_preview(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Preview | None:
    """None where nobody is to ask for the candidate. It is the operator's word: the CLI reads no routes."""
    upgrade = status.get("upgrade") or {}
    mark = text(upgrade, "preview")
    if mark:
        state = preview_state(upgrade, text(status, "phase"), text(status, "reason"))
    else:
        mark, state = asked_by((spec.get("traffic") or {}).get("preview") or {}), PreviewState.TO_COME
        to_come = text(status, "phase") in BEFORE_THE_SWITCH | PREVIEWED_PHASES and upgrade.get("from")
        if not (mark and to_come and text(upgrade, "to") == text(spec, "version")):
            return None
    return Preview(mark, text(upgrade, "to"), state, text(upgrade, "previewGap"))


def preview_state(upgrade: Mapping[str, Any], phase: str, reason: str) -> PreviewState:
    if upgrade.get("previewLeftOut"):
        return PreviewState.LEFT_OUT
    if phase in WAY_BACK or upgrade.get("switchedAt"):
        return PreviewState.ENDED
    effect = text(upgrade.get("intent") or {}, "effect")
    # No other write of a route is made in Verifying.
    refused = reason == "WriteFailed" and phase == "Verifying" and effect == "WeighRoutes"
    return PreviewState.BEING_WRITTEN if refused or reason == "PreviewOffered" else PreviewState.OFFERED


def asked_by(preview: Mapping[str, Any]) -> str:
    """The header or cookie that the spec names, in the operator's words."""
    for kind, sign in (("header", ": "), ("cookie", "=")):
        if found := preview.get(kind):
            return f"{kind} {text(found, 'name')}{sign}{text(found, 'value')}"
    return ""


def read_asked_ways(status: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Known at the end of Verifying, and only where users are led by routes from another version."""
    upgrade, traffic = status.get("upgrade") or {}, status.get("traffic") or {}
    if not (upgrade.get("from") and traffic.get("routes") and text(status, "phase") in AFTER_VERIFYING):
        return None
    return tuple(str(way) for way in upgrade.get("gateways") or ())


def read_release(item: Mapping[str, Any]) -> Release:
    metadata = item.get("metadata") or {}
    spec = item.get("spec") or {}
    status = item.get("status") or {}
    traffic = status.get("traffic") or {}
    conditions = (
        Condition(text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message"))
        for c in status.get("conditions") or ()
    )
    return Release(
        namespace=text(metadata, "namespace"),
        name=text(metadata, "name"),
        version=text(status, "activeVersion"),
        target=text(spec, "version"),
        seen=bool(status.get("observedGeneration"))
        and status["observedGeneration"] >= metadata.get("generation", 0),
        phase=text(status, "phase") or "Pending",
        reason=text(status, "reason"),
        message=text(status, "message"),
        paused=bool(spec.get("paused")),
        colour=text(traffic, "current"),
        shares={colour: int(traffic.get(colour) or 0) for colour in ("blue", "green")},
        conditions={condition.type: condition for condition in conditions},
        upgrade=read_upgrade(status.get("upgrade")),
        last=read_upgrade(status.get("lastUpgrade")),
        pending=read_pending(status.get("pendingContract")),
        kept_schema=read_pending(status.get("pendingBackout")),
        reversions=int(traffic.get("reversions") or 0),
        progress=read_progress(status),
        servers=read_servers(status),
        preview=read_preview(spec, status),
        asked_ways=read_asked_ways(status),
    )
