"""A ControlPlaneRelease from a test's side: apply it, command it, wait for its phases, read its timeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.kube import ApiError, Kube, Object
from harness.namespaces import event_line, event_time
from harness.waiting import WaitError, condition_of, summary, wait_for_object, wait_for_objects

API_VERSION = "maestro-conductor.io/v1alpha1"
KIND = "ControlPlaneRelease"
ANNOTATION_PREFIX = "maestro-conductor.io"
UPGRADE_SECONDS = 300.0
SETTLED_PHASE = "Stable"
_WINDOW_OPEN = "rollback window open"


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase of an upgrade took; `seconds` is None while it goes on."""

    phase: str
    started_at: datetime
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Upgrade:
    """An upgrade that has ended, as the status tells it."""

    id: str
    from_version: str
    to_version: str
    outcome: str
    reason: str
    message: str
    started_at: datetime
    ended_at: datetime
    decided_at: datetime | None
    switched_at: datetime | None
    switched_back_at: datetime | None
    timeline: tuple[PhaseTime, ...]


class Release:
    """One release in one namespace."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.name = name

    # --- asking

    def apply(self, spec: dict[str, Any], *, validation: str = "Strict") -> Object:
        """Ask for a spec, the way GitOps does: server-side apply of the whole of it."""
        metadata = {"name": self.name, "namespace": self.namespace}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        return self.kube.apply(manifest, validation=validation)

    def patch(self, spec: dict[str, Any]) -> Object:
        """Change some fields of the spec (merge patch)."""
        return self.kube.patch(KIND, self.name, self.namespace, {"spec": spec})

    def annotate(self, command: str, value: str) -> None:
        """Give a command: approve, abort, rollback or retry."""
        annotations = {f"{ANNOTATION_PREFIX}/{command}": value}
        self.kube.patch(KIND, self.name, self.namespace, {"metadata": {"annotations": annotations}})

    def command(self, command: str, *, step: str = "") -> str:
        """Give a command for the upgrade that is under way (or was the last one); answers the upgrade's id."""
        upgrade = self.upgrade_id()
        self.annotate(command, f"{upgrade}/{step}" if step else upgrade)
        return upgrade

    # --- reading

    def read(self) -> Object:
        return self.kube.need(KIND, self.name, self.namespace)

    def status(self) -> dict[str, Any]:
        return dict(self.read().get("status") or {})

    def upgrade_id(self) -> str:
        """Raises WaitError where there has never been an upgrade."""
        status = self.status()
        upgrade = status.get("upgrade") or status.get("lastUpgrade")
        if upgrade is None:
            raise WaitError(f"{KIND} {self.namespace}/{self.name} has no upgrade in its status: {status}")
        return str(upgrade["id"])

    def last_upgrade(self) -> Upgrade:
        """The upgrade that ended last. Raises KeyError where none has."""
        return parse_upgrade(self.status()["lastUpgrade"])

    def timeline(self) -> tuple[PhaseTime, ...]:
        """The phases of the upgrade under way, or else of the last one."""
        status = self.status()
        return parse_timeline(status.get("upgrade") or status.get("lastUpgrade") or {})

    def events(self) -> list[Object]:
        """Events about this release, oldest first."""
        about = f"involvedObject.kind={KIND},involvedObject.name={self.name}"
        return sorted(self.kube.objects("Event", self.namespace, fields=about), key=event_time)

    # --- waiting

    def wait(self, done: Callable[[Object], bool], *, what: str, deadline_seconds: float) -> Object:
        """Wait for anything that the release itself shows."""
        return wait_for_object(
            self.kube, KIND, self.name, self.namespace, done,
            what=what, deadline_seconds=deadline_seconds, describe=self._describe,
        )  # fmt: skip

    def end_upgrade(self, *, deadline_seconds: float = UPGRADE_SECONDS) -> None:
        """Abort what is under way, if anything is, and wait until it has ended."""
        if self.status().get("upgrade"):
            self.command("abort")
            self.wait(
                lambda item: not item["status"].get("upgrade"),
                what="the abort", deadline_seconds=deadline_seconds,
            )  # fmt: skip

    def wait_phase(self, *phases: str, deadline_seconds: float = UPGRADE_SECONDS) -> Object:
        """Wait until the release is in one of these phases, for the spec as it is now."""
        generation = self.read()["metadata"]["generation"]
        return self.wait(
            lambda item: _observed(item) >= generation and item["status"].get("phase") in phases,
            what=f"phase {' or '.join(phases)}", deadline_seconds=deadline_seconds,
        )  # fmt: skip

    def wait_shed(self, *, deadline_seconds: float = UPGRADE_SECONDS) -> Object:
        """Wait until the soak is all that is left to wait for: every client of the former colour has moved.

        The phase begins with the reason `Soaking` too; what tells them apart is the message.
        """

        def shed(item: Object) -> bool:
            # One that was created a moment ago has no status yet.
            found = item.get("status") or {}
            at = (found.get("phase"), found.get("reason"))
            return at == ("Soaking", "Soaking") and _WINDOW_OPEN in found["message"]

        return self.wait(shed, what="the end of shedding", deadline_seconds=deadline_seconds)

    def wait_condition(
        self,
        condition: str,
        *,
        status: str = "True",
        reason: str = "",
        deadline_seconds: float = UPGRADE_SECONDS,
    ) -> Object:
        """Wait for a condition that speaks of the spec as it is now; answers the condition."""
        generation = self.read()["metadata"]["generation"]

        def holds(item: Object) -> bool:
            found = condition_of(item, condition)
            return (
                found is not None
                and _observed(item) >= generation
                and found["status"] == status
                and reason in ("", found.get("reason"))
            )

        wanted = f"condition {condition}={status} {reason}".rstrip()
        found = condition_of(self.wait(holds, what=wanted, deadline_seconds=deadline_seconds), condition)
        assert found is not None
        return found

    def wait_settled(self, version: str, *, deadline_seconds: float = UPGRADE_SECONDS) -> Object:
        """Wait until this version is active and nothing is under way."""
        return self.wait(
            lambda item: _settled_on(item, version),
            what=f"version {version} active and phase {SETTLED_PHASE}", deadline_seconds=deadline_seconds,
        )  # fmt: skip

    def wait_upgrade(
        self, to_version: str, *, outcomes: Collection[str], deadline_seconds: float = UPGRADE_SECONDS
    ) -> Upgrade:
        """Wait until the upgrade to this version has ended, in one of these outcomes, and nothing is under way.

        What ended before the present spec was asked for does not count.
        """
        generation = self.read()["metadata"]["generation"]

        def ended(item: Object) -> bool:
            status = item.get("status") or {}
            last = status.get("lastUpgrade") or {}
            if last.get("to") != to_version or status.get("upgrade") or _observed(item) < generation:
                return False
            if status.get("reason") == "CreatingRevision":
                # What was asked for is being written down, and the upgrade before it is still the last one.
                return False
            if last["outcome"] not in outcomes:
                raise WaitError(f"upgrade to {to_version} ended as {last['outcome']}: {last}")
            return status.get("phase") == SETTLED_PHASE

        what = f"end of the upgrade to {to_version} as {' or '.join(outcomes)}"
        item = self.wait(ended, what=what, deadline_seconds=deadline_seconds)
        return parse_upgrade(item["status"]["lastUpgrade"])

    def wait_event(
        self, says: Callable[[Object], bool], *, what: str, deadline_seconds: float = 30.0
    ) -> Object:
        """Wait for an Event about this release."""

        def about_this(event: Object) -> bool:
            about = event.get("involvedObject", {})
            return about.get("kind") == KIND and about.get("name") == self.name and says(event)

        found = wait_for_objects(
            self.kube, "Event", self.namespace, lambda items: any(map(about_this, items)),
            what=f"Event of {self.name}: {what}", deadline_seconds=deadline_seconds, describe=event_line,
        )  # fmt: skip
        return next(event for event in found if about_this(event))

    def _describe(self, item: Object) -> str:
        return summary(item)


class PhaseRecorder:
    """Every change of phase, reason or message as a watch saw it, for live progress and for tests of order."""

    def __init__(
        self, release: Release, told: Callable[[datetime, dict[str, Any]], None] = lambda _at, _s: None
    ) -> None:
        self.seen: list[tuple[datetime, dict[str, Any]]] = []
        self._release = release
        self._told = told
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._record, name=f"phases-{release.name}", daemon=True)

    def __enter__(self) -> PhaseRecorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def phases(self) -> list[str]:
        """The phases in the order they came, without repetitions."""
        found: list[str] = []
        for _, status in self.seen:
            phase = str(status.get("phase", ""))
            if phase and (not found or found[-1] != phase):
                found.append(phase)
        return found

    def _record(self) -> None:
        release = self._release
        while not self._stop.is_set():
            try:
                wait_for_object(
                    release.kube, KIND, release.name, release.namespace, self._take,
                    what="the end of the recording", deadline_seconds=2.0,
                )  # fmt: skip
            except (WaitError, ApiError, OSError):
                continue  # nothing new within the slice, or an API server on its way back

    def _take(self, item: Object) -> bool:
        status = item.get("status") or {}
        shown = {key: status.get(key) for key in ("phase", "reason", "message", "traffic")}
        if not self.seen or self.seen[-1][1] != shown:
            now = datetime.now(UTC)
            self.seen.append((now, shown))
            self._told(now, status)
        return self._stop.is_set()


def parse_upgrade(raw: dict[str, Any]) -> Upgrade:
    """Read `status.lastUpgrade`."""
    return Upgrade(
        id=raw["id"],
        from_version=raw.get("from", ""),
        to_version=raw["to"],
        outcome=raw["outcome"],
        reason=raw["reason"],
        message=raw.get("message", ""),
        started_at=_instant(raw["startedAt"]),
        ended_at=_instant(raw["endedAt"]),
        decided_at=_optional_instant(raw.get("decidedAt")),
        switched_at=_optional_instant(raw.get("switchedAt")),
        switched_back_at=_optional_instant(raw.get("switchedBackAt")),
        timeline=parse_timeline(raw),
    )


def parse_timeline(raw: dict[str, Any]) -> tuple[PhaseTime, ...]:
    return tuple(
        PhaseTime(entry["phase"], _instant(entry["startedAt"]), _optional_instant(entry.get("endedAt")))
        for entry in raw.get("timeline") or []
    )


def _observed(item: Object) -> int:
    return int((item.get("status") or {}).get("observedGeneration") or 0)


def _settled_on(item: Object, version: str) -> bool:
    status = item.get("status") or {}
    return (
        _observed(item) >= item["metadata"]["generation"]
        and status.get("phase") == SETTLED_PHASE
        and status.get("activeVersion") == version
        and not status.get("upgrade")
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _optional_instant(text: str | None) -> datetime | None:
    return _instant(text) if text else None
