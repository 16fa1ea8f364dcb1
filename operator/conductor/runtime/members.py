"""Who else is there to share the shards with: each replica's heartbeat, on one Lease of their own."""

import json
from collections.abc import Callable

from conductor.adapters.kube import AlreadyExistsError, ConflictError, Kube, Object
from conductor.api import names


class Members:
    """Knows those whose heartbeat was seen to move within `duration` seconds of the local clock."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        *,
        identity: str,
        clock: Callable[[], float],
        duration: float,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._duration = duration
        self._beat = 0
        self._seen: dict[str, tuple[int, float]] = {}

    def others(self) -> list[str]:
        """Who else is alive."""
        now = self._clock()
        return [who for who, (_, at) in self._seen.items() if now - at < self._duration]

    def beat(self) -> None:
        """Say that we are alive, and see who else is. Raises ApiError."""
        self._beat += 1
        self._write(self._beat)

    def leave(self) -> None:
        """Say that we are going. Raises ApiError."""
        self._write(None)

    def _write(self, beat: int | None) -> None:
        now = self._clock()
        found = self._kube.get("Lease", self._namespace, self._name)
        beats = _beats(found)
        beats.pop(self._identity, None)
        self._seen = {who: self._noticed(who, theirs, now) for who, theirs in beats.items()}
        kept = {who: theirs for who, theirs in beats.items() if now - self._seen[who][1] < self._duration}
        if beat is not None:
            kept[self._identity] = beat
        annotations = {names.ANNOTATION_MEMBERS: json.dumps(kept, sort_keys=True)}
        try:
            if found is None:
                self._kube.create(
                    "Lease",
                    self._namespace,
                    {
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {
                            "name": self._name,
                            "namespace": self._namespace,
                            "annotations": annotations,
                        },
                        "spec": {},
                    },
                )
            else:
                metadata = {**found["metadata"], "annotations": annotations}
                self._kube.replace("Lease", self._namespace, {**found, "metadata": metadata})
        except (ConflictError, AlreadyExistsError):
            # Another one's heartbeat came in between; the next one of ours will be seen.
            return

    def _noticed(self, who: str, beat: int, now: float) -> tuple[int, float]:
        former = self._seen.get(who)
        return former if former is not None and former[0] == beat else (beat, now)


def _beats(lease: Object | None) -> dict[str, int]:
    try:
        written = json.loads(((lease or {})["metadata"].get("annotations") or {})[names.ANNOTATION_MEMBERS])
        return {str(who): int(beat) for who, beat in written.items()}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}
