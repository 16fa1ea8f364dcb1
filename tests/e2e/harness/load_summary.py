"""The load generator's report as frozen dataclasses, and several reports added up to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any

KEEP_ALIVE = "keepalive"
ONE_SHOT = "oneshot"
H2 = "h2"
GRPC = "grpc"
GRPC_STREAM = "grpc_stream"
WEBSOCKET = "websocket"
#: Kinds that hold one connection, and what people call them.
PROTOCOLS = {
    KEEP_ALIVE: "HTTP/1.1 keep-alive",
    H2: "HTTP/2",
    GRPC: "gRPC, calls",
    GRPC_STREAM: "gRPC, one stream",
    WEBSOCKET: "WebSocket",
}


@dataclass(frozen=True)
class Progress:
    """One second of a run that goes on."""

    at: datetime
    elapsed_seconds: float
    requests: int
    failures: int
    second_requests: int
    second_failures: int
    second_p95_ms: float
    second_versions: dict[str, int]


@dataclass(frozen=True)
class Answers:
    """How many answers of one version one kind of client got, and when."""

    answers: int
    first: datetime
    last: datetime
    #: When the latest of the requests that were answered so was begun: a slow version answers long after.
    begun: datetime


@dataclass(frozen=True)
class Latency:
    """Quantiles in milliseconds, from buckets (upper edge in ms: answers) that can be added up."""

    buckets: dict[float, int]
    max_ms: float

    def quantile_ms(self, quantile: float) -> float:
        """The upper edge of the bucket that holds the quantile: at most 5 % too much."""
        rank, seen = quantile * sum(self.buckets.values()), 0
        for upper_ms in sorted(self.buckets):
            seen += self.buckets[upper_ms]
            if seen >= rank:
                return min(upper_ms, self.max_ms)
        return self.max_ms

    def merged(self, other: Latency) -> Latency:
        return Latency(dict(Counter(self.buckets) + Counter(other.buckets)), max(self.max_ms, other.max_ms))


@dataclass(frozen=True)
class VersionReport:
    """What users saw of one version."""

    answers: int
    failures: int
    by_client: dict[str, Answers]
    latency: Latency


@dataclass(frozen=True)
class Second:
    """One second of the run: requests that ended in it, failures, answers per version."""

    offset: int
    requests: int
    failures: int
    versions: dict[str, int]


@dataclass(frozen=True)
class Span:
    """A time in which every answer of a client was of one version."""

    version: str
    answers: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Gap:
    """A time between two good answers, the client's own pace included."""

    seconds: float
    until: datetime


@dataclass(frozen=True)
class ClientReport:
    """What one client that keeps its connection lived through; its longest gaps, longest first."""

    kind: str
    number: int
    answers: int
    failures: int
    connections: int
    told_to_close: int
    asked_again: int
    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    longest_wait_seconds: float

    def versions(self) -> list[str]:
        return [span.version for span in self.spans]

    def longest_gap_seconds(self, since: datetime, until: datetime) -> float:
        """The longest gap that ended in this time; where none of those kept did, an upper bound of it."""
        within = [gap.seconds for gap in self.gaps if since < gap.until <= until]
        return max(within, default=min((gap.seconds for gap in self.gaps), default=0.0))


@dataclass(frozen=True)
class Writes:
    """The creates of a run against the database; `verified` is False where nobody looked."""

    acknowledged: int
    verified: bool
    missing: int
    duplicates: int
    unacknowledged: int
    unacknowledged_present: int
    error: str


@dataclass(frozen=True)
class LoadSummary:
    """One run, or several merged."""

    loop: str
    started_at: datetime
    ended_at: datetime
    requests: int
    failures: int
    failures_by_kind: dict[str, int]
    creates: int
    connections: dict[str, int]
    versions: dict[str, VersionReport]
    latency: Latency
    longest_gap_ms: int
    writes: Writes
    seconds: tuple[Second, ...] = ()
    failure_samples: tuple[dict[str, Any], ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    #: Of a plan with `each_client`; reports that are merged leave it out.
    clients: tuple[ClientReport, ...] = ()

    def last_answer(self, version: str, client: str) -> datetime | None:
        """When a client of this kind last heard this version."""
        found = self._answers(version, client)
        return found.last if found else None

    def last_begun(self, version: str, client: str) -> datetime | None:
        """When a client of this kind last began a request that this version answered."""
        found = self._answers(version, client)
        return found.begun if found else None

    def first_answer(self, version: str, client: str) -> datetime | None:
        """When a client of this kind first heard this version."""
        found = self._answers(version, client)
        return found.first if found else None

    def _answers(self, version: str, client: str) -> Answers | None:
        report = self.versions.get(version)
        return report.by_client.get(client) if report else None

    def faults(self) -> list[str]:
        """Everything that makes the run a bad one, in words; empty when no user lost anything."""
        found = []
        if self.failures:
            samples = "".join(f"\n  {sample}" for sample in self.failure_samples[:10])
            found.append(
                f"{self.failures} of {self.requests} requests failed: {self.failures_by_kind}{samples}"
            )
        if self.writes.error:
            found.append(f"writes were not verified: {self.writes.error}")
        if self.writes.missing or self.writes.duplicates:
            found.append(
                f"{self.writes.missing} acknowledged ids are missing, {self.writes.duplicates} are there twice"
            )
        return found

    def line(self) -> str:
        """The run in one line."""
        return (
            f"{self.requests} requests, {self.failures} failed {self.failures_by_kind or ''}, "
            f"p95 {self.latency.quantile_ms(0.95):.0f} ms, longest gap {self.longest_gap_ms} ms, "
            f"{self.writes.acknowledged} creates acknowledged, {self.writes.missing} missing, "
            f"connections {self.connections}"
        )


def parse_progress(raw: dict[str, Any]) -> Progress:
    return Progress(
        at=_instant(raw["at"]),
        elapsed_seconds=raw["elapsed_s"],
        requests=raw["requests"],
        failures=raw["failures"],
        second_requests=raw["second_requests"],
        second_failures=raw["second_failures"],
        second_p95_ms=raw["second_p95_ms"],
        second_versions=raw["second_versions"],
    )


def parse_summary(raw: dict[str, Any]) -> LoadSummary:
    """Read the object under `summary` of the last line."""
    writes = raw["writes"]
    return LoadSummary(
        loop=raw["loop"],
        started_at=_instant(raw["started_at"]),
        ended_at=_instant(raw["ended_at"]),
        requests=raw["requests"],
        failures=raw["failures"],
        failures_by_kind=raw["failures_by_kind"],
        creates=raw["creates"],
        connections=raw["connections"],
        versions={name: _version(version) for name, version in raw["versions"].items()},
        latency=_latency(raw["latency"]),
        longest_gap_ms=raw["longest_gap"]["ms"],
        writes=Writes(
            acknowledged=writes["acknowledged"],
            verified=writes["verified"],
            missing=writes["missing"],
            duplicates=writes["duplicates"],
            unacknowledged=writes["unacknowledged"],
            unacknowledged_present=writes["unacknowledged_present"],
            error=writes.get("error", ""),
        ),
        seconds=tuple(Second(*second) for second in raw["seconds"]),
        failure_samples=tuple(raw["failure_samples"]),
        raw=raw,
        clients=tuple(map(_client, raw.get("clients", ()))),
    )


def merge(summaries: Sequence[LoadSummary]) -> LoadSummary:
    """Add runs up. Raises ValueError when there are none."""
    if not summaries:
        raise ValueError("summaries: none given; merge at least one run")
    return reduce(_merged, summaries)


def _merged(left: LoadSummary, right: LoadSummary) -> LoadSummary:
    versions = dict(left.versions)
    for name, report in right.versions.items():
        versions[name] = _merged_version(versions[name], report) if name in versions else report
    one, other = left.writes, right.writes
    return LoadSummary(
        loop=left.loop,
        started_at=min(left.started_at, right.started_at),
        ended_at=max(left.ended_at, right.ended_at),
        requests=left.requests + right.requests,
        failures=left.failures + right.failures,
        failures_by_kind=dict(Counter(left.failures_by_kind) + Counter(right.failures_by_kind)),
        creates=left.creates + right.creates,
        connections={key: left.connections[key] + right.connections[key] for key in left.connections},
        versions=versions,
        latency=left.latency.merged(right.latency),
        longest_gap_ms=max(left.longest_gap_ms, right.longest_gap_ms),
        writes=Writes(
            acknowledged=one.acknowledged + other.acknowledged,
            verified=one.verified and other.verified,
            missing=one.missing + other.missing,
            duplicates=one.duplicates + other.duplicates,
            unacknowledged=one.unacknowledged + other.unacknowledged,
            unacknowledged_present=one.unacknowledged_present + other.unacknowledged_present,
            error="; ".join(filter(None, (one.error, other.error))),
        ),
        failure_samples=left.failure_samples + right.failure_samples,
    )


def _merged_version(left: VersionReport, right: VersionReport) -> VersionReport:
    by_client = dict(left.by_client)
    for client, seen in right.by_client.items():
        known = by_client.get(client)
        by_client[client] = (
            Answers(
                known.answers + seen.answers,
                min(known.first, seen.first),
                max(known.last, seen.last),
                max(known.begun, seen.begun),
            )
            if known
            else seen
        )
    return VersionReport(
        left.answers + right.answers,
        left.failures + right.failures,
        by_client,
        left.latency.merged(right.latency),
    )


def _version(raw: dict[str, Any]) -> VersionReport:
    by_client = {
        client: Answers(
            raw[client]["answers"], *(_instant(raw[client][name]) for name in ("first", "last", "begun"))
        )
        for client in (ONE_SHOT, *PROTOCOLS)
        if raw.get(client)
    }
    return VersionReport(raw["answers"], raw["failures"], by_client, _latency(raw["latency"]))


def _client(raw: dict[str, Any]) -> ClientReport:
    return ClientReport(
        kind=raw["kind"],
        number=raw["number"],
        answers=raw["answers"],
        failures=raw["failures"],
        connections=raw["connections"],
        told_to_close=raw["told_to_close"],
        asked_again=raw["asked_again"],
        spans=tuple(
            Span(span["version"], span["answers"], _instant(span["first"]), _instant(span["last"]))
            for span in raw["spans"]
        ),
        gaps=tuple(Gap(gap["ms"] / 1000, _instant(gap["until"])) for gap in raw["gaps"]),
        longest_wait_seconds=raw["longest_wait_ms"] / 1000,
    )


def _latency(raw: dict[str, Any]) -> Latency:
    return Latency({float(upper): int(count) for upper, count in raw["buckets"]}, raw["max_ms"])


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
