"""What a service account asked the API server for, read from the local cluster's audit log.

Only the local way has such a log: on kind or on somebody's own cluster there is none to read.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.interface import chosen_way
from cluster.paths import DEFAULT_INSTANCE, InstancePaths
from harness.grants import Right

#: Set by scripts/stages.py: what happened before it is no part of the run, and where the rest of the run was.
RUN_STARTED = "MC_RUN_STARTED"
SECOND_INSTANCE = "MC_SECOND_INSTANCE"
FORBIDDEN = "forbid"
_UNINSTALLED = "uninstalled.jsonl"


class AuditError(Exception):
    """There is no audit log to read, or it does not hold what was asked for."""


@dataclass(frozen=True, order=True)
class Use:
    """One right as it was used; an empty namespace means across the whole cluster."""

    right: Right
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "across the cluster"
        return f"{self.right} {where}"


@dataclass(frozen=True)
class Record:
    """What one service account asked for: what it was allowed, and what it was not."""

    allowed: frozenset[Use]
    forbidden: frozenset[Use]

    def __or__(self, other: Record) -> Record:
        return Record(self.allowed | other.allowed, self.forbidden | other.forbidden)


def log_directory() -> Path:
    """Where the local cluster's audit log lies. Raises AuditError on the other ways."""
    way = chosen_way()
    if way != "local":
        raise AuditError(
            f"the way {way} to a cluster has no audit log; use MC_CLUSTER=local to compare privileges"
        )
    return InstancePaths(os.environ.get("MC_CLUSTER_INSTANCE", DEFAULT_INSTANCE)).audit


def log_directories() -> list[Path]:
    """The audit logs of every cluster that this run of `make test` uses."""
    second = os.environ.get(SECOND_INSTANCE, "")
    return [log_directory(), *([InstancePaths(second).audit] if second else [])]


@contextmanager
def uninstalling() -> Iterator[None]:
    """The chart is taken away in this block: helm removes the roles first, and what the pod asks for until its end
    is refused then. Noted down on the local way, the only one with a log."""
    begun = datetime.now(UTC)
    try:
        yield
    finally:
        if chosen_way() == "local":
            with (log_directory() / _UNINSTALLED).open("a") as notes:
                notes.write(json.dumps([begun.isoformat(), datetime.now(UTC).isoformat()]) + "\n")


def _uninstalled(directory: Path) -> list[tuple[datetime, datetime]]:
    notes = directory / _UNINSTALLED
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [
        (datetime.fromisoformat(begun), datetime.fromisoformat(ended))
        for begun, ended in map(json.loads, lines)
    ]


def recorded(user: str, directory: Path, since: datetime | None = None) -> Record:
    """All that `user` asked for, since a moment or since the cluster started. Raises AuditError."""
    files = sorted(directory.glob("audit*.log"))
    if not files:
        raise AuditError(f"no audit log in {directory}; was the cluster started before there was one?")
    allowed: set[Use] = set()
    forbidden: set[Use] = set()
    seen = 0
    without_rights = _uninstalled(directory)
    for entry in _entries(files):
        if entry["user"]["username"] != user or (since and _time(entry) < since):
            continue
        seen += 1
        if _decision(entry) == FORBIDDEN and any(
            begun <= _time(entry) <= ended for begun, ended in without_rights
        ):
            continue
        (forbidden if _decision(entry) == FORBIDDEN else allowed).update(uses(entry))
    if not seen:
        raise AuditError(f"{user} asked for nothing in {directory}" + (f" since {since}" if since else ""))
    return Record(frozenset(allowed), frozenset(forbidden))


def counted(user: str, directory: Path, since: datetime, until: datetime) -> Counter[Right]:
    """How often `user` asked for what between two moments, whatever it was answered."""
    # A file that was closed before holds nothing of that time.
    files = [
        path for path in sorted(directory.glob("audit*.log")) if path.stat().st_mtime >= since.timestamp()
    ]
    found: Counter[Right] = Counter()
    for entry in _entries(files):
        if entry["user"]["username"] == user and since <= _time(entry) <= until:
            # A watch that ends is told of a second time.
            if entry.get("stage") == "ResponseStarted" or "resource" not in entry.get("objectRef", {}):
                continue
            about = entry["objectRef"]
            resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
            found[Right(about.get("apiGroup", ""), resource, entry["verb"])] += 1
    return found


def uses(entry: dict[str, Any]) -> Iterator[Use]:
    """The rights that one request needed; none for what is no resource, such as /apis."""
    about = entry.get("objectRef")
    if about is None or "resource" not in about:
        return
    resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
    group, namespace, name = about.get("apiGroup", ""), about.get("namespace", ""), about.get("name", "")
    yield Use(Right(group, resource, entry["verb"]), namespace, name)
    if entry["verb"] == "patch" and entry.get("responseStatus", {}).get("code") == 201:
        # An apply that creates is asked for `patch`, and then for `create` without another entry.
        yield Use(Right(group, resource, "create"), namespace, name)


def run_started() -> datetime | None:
    """When this run of `make test` began; None outside of one."""
    text = os.environ.get(RUN_STARTED, "")
    return datetime.fromisoformat(text) if text else None


def _entries(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        with path.open() as lines:
            for line in lines:
                if line.endswith("\n"):  # else it is being written just now
                    yield json.loads(line)


def _time(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["stageTimestamp"])


def _decision(entry: dict[str, Any]) -> str:
    decision: str = entry.get("annotations", {}).get("authorization.k8s.io/decision", "")
    return decision
