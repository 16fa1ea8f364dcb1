"""What a database's users felt of a migration: the requests that met each phase, and how long they took."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.clients import PULSE, READERS, STANDBY_READERS, WRITERS, Sample

KINDS = (WRITERS, READERS, STANDBY_READERS)
#: The issue's promise, in seconds.
LIMIT_SECONDS = 1.0


@dataclass(frozen=True)
class Window:
    """A phase, from its first moment until its last effect could be felt; seconds on the clock of the samples."""

    name: str
    began: float
    ended: float

    def met_by(self, sample: Sample) -> bool:
        return sample.began < self.ended and sample.began + sample.seconds > self.began


@dataclass(frozen=True)
class Felt:
    """Requests of one kind that met one phase. Seconds."""

    requests: int
    failed: int
    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Felt:
        found = list(samples)
        took = sorted(sample.seconds for sample in found) or [0.0]
        return cls(
            requests=len(found),
            failed=sum(bool(sample.failure) for sample in found),
            median=statistics.median(took),
            p99=took[math.ceil(len(took) * 0.99) - 1],
            longest=took[-1],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "failed": self.failed,
            "medianSeconds": round(self.median, 4),
            "p99Seconds": round(self.p99, 4),
            "longestSeconds": round(self.longest, 4),
        }


def felt(samples: Sequence[Sample], windows: Sequence[Window]) -> dict[str, dict[str, Any]]:
    """By phase, then by kind; `pulse` is how late the clients' own process was."""
    told: dict[str, dict[str, Any]] = {}
    for window in windows:
        met = [sample for sample in samples if window.met_by(sample)]
        told[window.name] = {"seconds": round(window.ended - window.began, 2)} | {
            kind: Felt.of(sample for sample in met if sample.kind == kind).as_json()
            for kind in (*KINDS, PULSE)
        }
    return told


def longest(phase: Mapping[str, Any]) -> float:
    """The longest that any user waited in this phase, in seconds."""
    return float(max(phase[kind]["longestSeconds"] for kind in KINDS))


def failed(phase: Mapping[str, Any]) -> int:
    return int(sum(phase[kind]["failed"] for kind in KINDS))
