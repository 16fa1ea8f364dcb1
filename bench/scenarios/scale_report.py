"""What came of `bench/scale.py`: its tables, and what is not as promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.processes import Spread
from scenarios.tables import columns

#: What the issue promises.
CPU_PERCENT, DECISION_SECONDS, COLD_SECONDS, FLAT_MB = 1.0, 0.25, 30.0, 10.0
_READING = ("get", "list", "watch")
#: Of its Lease a leader says every two seconds that it lives; of nothing else does it write at rest.
_LEASES = "leases.coordination.k8s.io"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Reads the parts of one whole run."""

    sizes: Sequence[int]
    upgrading: int
    rounds: Sequence[str]
    parts: Mapping[str, Json]

    def broken(self) -> list[str]:
        """Every promise that is not kept, in words."""
        return [*self._broken_at_rest(), *self._broken_upgrades()]

    def _broken_at_rest(self) -> list[str]:
        faults = []
        for part, when in (("both/rest", "at rest"), ("both/after", "after the upgrades")):
            ours, peer = (_memory(self.parts[part][name]).median for name in ("operator", "argo"))
            if ours > peer:
                faults.append(
                    f"memory beside Argo Rollouts, {when}: {ours:.0f} MB, Argo Rollouts' {peer:.0f} MB"
                )
        for size in self.sizes:
            ours_rest, peer_rest = self._ours(size), self._argo(size)
            if _memory(ours_rest).median > _memory(peer_rest).median:
                faults.append(
                    f"memory with {size} releases: {_memory(ours_rest).median:.0f} MB, Argo Rollouts' "
                    f"{_memory(peer_rest).median:.0f} MB"
                )
            if _cpu(ours_rest).median >= CPU_PERCENT:
                faults.append(f"CPU at rest with {size} releases: {_cpu(ours_rest).median:.2f} % of a core")
            if written := self.written(size):
                faults.append(f"written at rest with {size} releases: {written}")
            if (cold := max(self._cold(size).values)) > COLD_SECONDS:
                faults.append(f"cold start with {size} releases: {cold:.1f} s")
        return faults

    def _broken_upgrades(self) -> list[str]:
        faults = []
        rounds = self._upgrades()
        for name, found in zip(self.rounds, rounds, strict=True):
            late = found["wakeToDecisionSeconds"]["p99"]
            if late is None or late > DECISION_SECONDS:
                faults.append(
                    f"pace {name}, asked for in {found['askedInSeconds']:.0f} s: wake to decision p99 "
                    f"{_milliseconds(late)}"
                )
            if found["succeeded"] < self.upgrading:
                faults.append(f"pace {name}: {found['succeeded']:.0f} of {self.upgrading} succeeded")
        if len({found["processStarted"] for found in rounds}) > 1:
            faults.append(
                "the operator was started anew between the rounds: whether memory is flat is not shown"
            )
        grown = _memory(rounds[-1]["rest"]).median - _memory(rounds[0]["rest"]).median
        if grown > FLAT_MB:
            faults.append(f"memory grew by {grown:.1f} MB from the first round of upgrades to the last")
        return faults

    def written(self, size: int) -> dict[str, int]:
        """Writes at rest by what they were to, but for the leader's own Lease."""
        found = self.parts[f"operator/{size}/rest"]
        writes = {
            right: count
            for right, count in found["requests"].items()
            if right.split()[0] not in _READING and right.split()[1] != _LEASES
        }
        return writes | ({"releases": found["releasesWritten"]} if found["releasesWritten"] else {})

    def lines(self) -> list[str]:
        """Two tables: at rest, and while upgrades were under way."""
        rest = [
            ["at rest", "memory", "CPU of a core", "Argo memory", "Argo CPU", "memory / Argo's", "cold start"]
        ]
        rest += [
            _rest_row(f"{size}", self._ours(size), self._argo(size), self._cold(size).text("s"))
            for size in self.sizes
        ]
        rest += [
            _rest_row(label, self.parts[part]["operator"], self.parts[part]["argo"], "-")
            for part, label in (("both/rest", "both at once"), ("both/after", "both, after upgrades"))
        ]
        headings = ["decisions", "p50", "p99", "p50, reads", "p99, reads"]
        more = [["pace", "seconds", *headings, "CPU of a core", "peak memory", "memory after"]]
        for name, found in zip(self.rounds, self._upgrades(), strict=True):
            decision, read = found["wakeToDecisionSeconds"], found["readWakeToDecisionSeconds"]
            more.append(
                [
                    f"{name}: {found['upgrades']} at once, asked for in {found['askedInSeconds']:.0f} s",
                    f"{found['seconds']:.0f}",
                    f"{found['decisions']:,.0f}",
                    _milliseconds(decision["p50"]),
                    _milliseconds(decision["p99"]),
                    _milliseconds(read["p50"]),
                    _milliseconds(read["p99"]),
                    f"{found['cpuPercentOfACore']:.0f} %",
                    f"{found['memoryMB']['greatest']:.0f} MB",
                    f"{_memory(found['rest']).median:.0f} MB",
                ]
            )
        return [*columns(rest), "", *columns(more)]

    def _ours(self, size: int) -> Json:
        found: Json = self.parts[f"operator/{size}/rest"]["operator"]
        return found

    def _argo(self, size: int) -> Json:
        found: Json = self.parts[f"argo/{size}/rest"]["argo"]
        return found

    def _cold(self, size: int) -> Spread:
        return Spread.of(self.parts[f"operator/{size}/cold"]["seconds"])

    def _upgrades(self) -> list[Json]:
        return [self.parts[f"upgrades/{name}"] for name in self.rounds]


def _rest_row(label: str, ours: Json, peer: Json, cold: str) -> list[str]:
    return [
        label,
        _memory(ours).text("MB", 0),
        _cpu(ours).text("%", 2),
        _memory(peer).text("MB", 0),
        _cpu(peer).text("%", 2),
        f"{_memory(ours).median / _memory(peer).median:.2f}",
        cold,
    ]


def _memory(rest: Json) -> Spread:
    return Spread.of(rest["memoryMB"])


def _cpu(rest: Json) -> Spread:
    return Spread.of(rest["cpuPercentOfACore"])


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.0f} ms"
