"""Every change among a namespace's pods as a watch saw it: how many of a version were ready, and which were started."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from conductor.api.names import LABEL_REVISION
from harness.kube import ApiError, Kube, Object
from harness.waiting import WaitError, wait_for_objects


@dataclass(frozen=True)
class Seen:
    """The ready pods that are not on their way out, by revision, from this moment on."""

    at: datetime
    ready: dict[str, int]


class PodRecord:
    """Watches from the beginning of the block to its end."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._seen: list[Seen] = []
        self._made: dict[str, tuple[str, datetime]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._record, name=f"pods-{namespace}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def fewest_ready(self, revision: str, since: datetime, until: datetime) -> int:
        """The least number of ready pods of a revision at any moment of this time, its beginning included."""
        before = [seen for seen in self._seen if seen.at <= since]
        within = [seen for seen in self._seen if since < seen.at <= until]
        return min(seen.ready.get(revision, 0) for seen in (before[-1:] or within[:1]) + within)

    def started(self, since: datetime, until: datetime) -> Counter[str]:
        """How many pods of each revision were created in this time (the API server's clock, whole seconds)."""
        return Counter(revision for revision, at in self._made.values() if since <= at <= until)

    def _record(self) -> None:
        while not self._stop.is_set():
            try:
                wait_for_objects(
                    self._kube, "Pod", self._namespace, self._take,
                    what="the end of the recording", deadline_seconds=2.0,
                )  # fmt: skip
            except (WaitError, ApiError, OSError):
                continue  # nothing new within the slice, or an API server on its way back

    def _take(self, pods: list[Object]) -> bool:
        ready: Counter[str] = Counter()
        for pod in pods:
            meta = pod["metadata"]
            revision = meta.get("labels", {}).get(LABEL_REVISION, "")
            self._made.setdefault(meta["uid"], (revision, datetime.fromisoformat(meta["creationTimestamp"])))
            conditions = pod.get("status", {}).get("conditions") or []
            is_ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
            if is_ready and "deletionTimestamp" not in meta:
                ready[revision] += 1
        if not self._seen or self._seen[-1].ready != dict(ready):
            self._seen.append(Seen(datetime.now(UTC), dict(ready)))
        return self._stop.is_set()
