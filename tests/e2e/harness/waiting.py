"""Waiting on conditions with a deadline; a wait that fails says what it waited for and what it saw last."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from harness.kube import ApiError, Kube, Object

T = TypeVar("T")
DEFAULT_DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.25
_LAST_SEEN_LIMIT = 3000


class WaitError(AssertionError):
    """The condition did not become true in time, or can no longer become true."""


def wait_for_objects(
    kube: Kube,
    kind: str,
    namespace: str,
    done: Callable[[list[Object]], bool],
    *,
    what: str,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    labels: str = "",
    name: str = "",
    describe: Callable[[Object], str] | None = None,
) -> list[Object]:
    """Watch a collection until `done` holds for it; answers the objects that it held for."""
    ends_at = time.monotonic() + deadline_seconds
    fields = f"metadata.name={name}" if name else ""
    seen: dict[str, Object] = {}
    while True:
        try:
            listed, version = kube.list_page(kind, namespace, labels=labels, fields=fields)
            seen = {item["metadata"]["uid"]: item for item in listed}
            if done(list(seen.values())):
                return list(seen.values())
            left = max(0.0, ends_at - time.monotonic())
            changes = kube.watch(kind, namespace, version, labels=labels, fields=fields, seconds=left)
            if _watch(changes, seen, done, ends_at):
                return list(seen.values())
        except (ApiError, OSError) as error:
            # An API server that restarts is part of what tests do to a cluster; the deadline bounds it.
            last_error = str(error)
            threading.Event().wait(POLL_SECONDS)
        else:
            last_error = ""
        if time.monotonic() >= ends_at:
            shown = [(describe or summary)(item) for item in seen.values()] or [f"no {kind} in {namespace!r}"]
            raise WaitError(_timeout_text(what, deadline_seconds, "\n".join(shown), last_error))


def _watch(
    changes: Iterator[tuple[str, Object]],
    seen: dict[str, Object],
    done: Callable[[list[Object]], bool],
    ends_at: float,
) -> bool:
    for change, item in changes:
        if change == "ERROR":
            return False
        if change == "DELETED":
            seen.pop(item["metadata"]["uid"], None)
        else:
            seen[item["metadata"]["uid"]] = item
        if done(list(seen.values())):
            return True
        if time.monotonic() >= ends_at:
            return False
    return False


def wait_for_object(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str,
    done: Callable[[Object], bool],
    *,
    what: str,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    describe: Callable[[Object], str] | None = None,
) -> Object:
    """Watch one object until `done` holds for it."""
    found = wait_for_objects(
        kube, kind, namespace, lambda items: any(done(item) for item in items), name=name,
        what=f"{kind} {namespace}/{name}: {what}", deadline_seconds=deadline_seconds, describe=describe,
    )  # fmt: skip
    return found[0]


def wait_gone(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str = "",
    *,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
) -> None:
    """Wait until an object is no longer there."""
    wait_for_objects(
        kube, kind, namespace, lambda items: not items, name=name,
        what=f"{kind} {namespace}/{name}: to be gone", deadline_seconds=deadline_seconds,
    )  # fmt: skip


def wait_available(
    kube: Kube, deployment: str, namespace: str, *, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
) -> Object:
    """Wait until every replica of a Deployment is of its last template and available, and no other is left."""

    def available(item: Object) -> bool:
        status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
        return bool(
            status.get("observedGeneration", 0) >= item["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == wanted
            and status.get("availableReplicas", 0) == wanted
            and status.get("replicas", 0) == wanted
        )

    return wait_for_object(
        kube, "Deployment", deployment, namespace, available,
        what="all replicas available", deadline_seconds=deadline_seconds,
    )  # fmt: skip


def wait_condition(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str,
    condition: str,
    *,
    status: str = "True",
    reason: str = "",
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
) -> Object:
    """Wait until a condition has a status (and a reason, when one is given); answers the condition."""

    def holds(item: Object) -> bool:
        found = condition_of(item, condition)
        return found is not None and found["status"] == status and reason in ("", found.get("reason"))

    wanted = f"condition {condition}={status}" + (f" ({reason})" if reason else "")
    item = wait_for_object(kube, kind, name, namespace, holds, what=wanted, deadline_seconds=deadline_seconds)
    found = condition_of(item, condition)
    assert found is not None
    return found


def condition_of(item: Object, condition: str) -> Object | None:
    """One condition of an object's status."""
    conditions: Sequence[Object] = item.get("status", {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == condition), None)


def poll(
    probe: Callable[[], T | None],
    *,
    what: str,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    every_seconds: float = POLL_SECONDS,
    last_seen: Callable[[], Any] | None = None,
) -> T:
    """Ask until the answer is not None: for what cannot be watched, such as Prometheus or a process."""
    ends_at = time.monotonic() + deadline_seconds
    pause = threading.Event()
    while True:
        answer = probe()
        if answer is not None:
            return answer
        if time.monotonic() >= ends_at:
            seen = str(last_seen()) if last_seen else "no answer that counts"
            raise WaitError(_timeout_text(what, deadline_seconds, seen, ""))
        pause.wait(every_seconds)


def summary(item: Object) -> str:
    """An object's name, conditions and status in a few lines, for a message of what was seen last."""
    metadata, status = item["metadata"], dict(item.get("status") or {})
    lines = [f"{item.get('kind', 'object')} {metadata.get('namespace', '')}/{metadata['name']}"]
    if "deletionTimestamp" in metadata:
        lines.append(
            f"  being deleted since {metadata['deletionTimestamp']}, held by {metadata.get('finalizers')}"
        )
    lines += [
        f"  {condition['type']}={condition['status']} {condition.get('reason', '')}: {condition.get('message', '')}"
        for condition in status.pop("conditions", None) or []
    ]
    lines.append("  " + json.dumps(status, default=str)[:_LAST_SEEN_LIMIT])
    return "\n".join(lines)


def _timeout_text(what: str, deadline_seconds: float, last_seen: str, last_error: str) -> str:
    error = f"\nlast error: {last_error}" if last_error else ""
    return f"waited {deadline_seconds:.0f} s for {what}\nlast seen: {last_seen[:_LAST_SEEN_LIMIT]}{error}"
