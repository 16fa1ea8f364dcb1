"""`make bench-scale`: a thousand releases at rest and a hundred upgrading at once, beside Argo Rollouts.

Pods are kwok's and cost nothing; their traffic is synthetic (bench/scale_traffic.py), and node proxies are not
asked (`nodeProof: Off`), because those nodes have none. Everything else is real: the API server, the operator as
its chart installs it, Prometheus. Argo Rollouts is measured first, while there is nothing else in the cluster.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.images import deliver
from cluster.interface import select
from harness import operator_install
from harness.kube import ApiError, Kube, connect
from harness.waiting import poll
from measure import RESULTS, circumstances
from scenarios import fleet, peers
from scenarios.processes import Metrics, Process, Recording, Rest, Spread, at_rest
from scenarios.tables import columns

SIZES = (10, 100, 1000)
UPGRADING = 100
ROUNDS = 2
COLD_STARTS = 3
#: What the issue promises.
CPU_PERCENT, DECISION_SECONDS, COLD_SECONDS, FLAT_MB = 1.0, 0.25, 30.0, 10.0
VALUES = ("nodeProof=Off", "logLevel=warning", "resources.limits.memory=2Gi")


@dataclass(frozen=True)
class Options:
    sizes: tuple[int, ...]
    upgrading: int
    rounds: int
    windows: int
    window_seconds: float


@dataclass
class Bench:
    """Everything that is found, in the order in which it is."""

    kube: Kube
    options: Options
    argo_alone: dict[int, Rest] = field(default_factory=dict)
    ours: dict[int, Rest] = field(default_factory=dict)
    together: dict[str, Rest] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    installs: dict[int, dict[str, Any]] = field(default_factory=dict)
    cold: dict[int, Spread] = field(default_factory=dict)
    upgrades: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet = fleet.releases(self.kube)

    def run(self) -> None:
        peers.install_kwok(self.kube)
        argo = peers.install_argo_rollouts(self.kube)
        self._argo(argo)
        peers.install_traffic(self.kube)
        operator_install.install(self.kube, values=VALUES)
        operator = Process(self.kube, operator_install.NAMESPACE, operator_install.SELECTOR, 8080)
        self._releases(operator)
        self.together = self._rest({"operator": operator, "argo": argo})
        self._upgrades(operator)

    def _argo(self, argo: Process) -> None:
        made = fleet.rollouts(self.kube)
        self.kube.apply_all(fleet.namespaces("argo"))
        for size in self.options.sizes:
            say(f"Argo Rollouts: {size} Rollouts")
            made.grow(size, deadline_seconds=1800)
            self.argo_alone[size] = self._rest({"argo": argo})["argo"]

    def _releases(self, operator: Process) -> None:
        made = self.fleet
        self.kube.apply_all(fleet.namespaces("scale"))
        for size in self.options.sizes:
            say(f"operator: {size} releases")
            fresh = size - made.size
            with Recording(operator) as recording:
                began = time.monotonic()
                made.grow(size, deadline_seconds=3600)
                took = time.monotonic() - began
            self.installs[size] = {"installed": fresh, "seconds": round(took, 1), **under_way(recording)}
            before = made.resource_versions()
            self.ours[size] = self._rest({"operator": operator})["operator"]
            after = made.resource_versions()
            self.written[size] = sum(after[uid] != version for uid, version in before.items())
            self.cold[size] = Spread([self._cold_start(operator, size) for _ in range(COLD_STARTS)])

    def _rest(self, processes: dict[str, Process]) -> dict[str, Rest]:
        # What was just made is still talked about: the API server's own work must not count as rest.
        time.sleep(self.options.window_seconds)
        return at_rest(processes, windows=self.options.windows, seconds=self.options.window_seconds)

    def _cold_start(self, operator: Process, size: int) -> float:
        """From the start of the process until every release was looked at."""
        former = operator.pod()
        self.kube.delete("Pod", former, operator.namespace)

        def all_seen() -> Metrics | None:
            try:
                if (pod := operator.pod()) == former:
                    return None
                found = operator.read(pod)
            except (LookupError, ApiError, OSError):
                return None
            known = found.sum("mc_cache_objects", kind="ControlPlaneRelease") >= size
            return found if known and found.sum("mc_looks_total") >= size else None

        found = poll(all_seen, what=f"{size} releases seen", deadline_seconds=300, every_seconds=0.2)
        return time.time() - found.started_at

    def _upgrades(self, operator: Process) -> None:
        numbers = range(self.options.upgrading)
        versions = [fleet.SECOND, fleet.FIRST]
        for number in range(self.options.rounds):
            version = versions[number % 2] if number else fleet.SECOND
            say(f"operator: {self.options.upgrading} upgrades at once, round {number + 1}")
            with Recording(operator) as recording:
                began = time.monotonic()
                self.fleet.ask(numbers, version)
                asked = time.monotonic() - began
                self.fleet.wait(deadline_seconds=3600)
                took = time.monotonic() - began
            rest = self._rest({"operator": operator})["operator"]
            self.upgrades.append(
                {
                    "upgrades": self.options.upgrading,
                    "askedInSeconds": round(asked, 1),
                    "seconds": round(took, 1),
                    "succeeded": recording.grown("mc_upgrades_total", outcome="Succeeded"),
                    "ended": recording.grown("mc_upgrades_total"),
                    **under_way(recording),
                    "restMB": rest.memory_mb.as_json(),
                }
            )

    # what came of it

    def as_json(self) -> dict[str, Any]:
        return {
            "argoAlone": {str(size): rest.as_json() for size, rest in self.argo_alone.items()},
            "operator": {str(size): rest.as_json() for size, rest in self.ours.items()},
            "bothAtRest": {name: rest.as_json() for name, rest in self.together.items()},
            "releasesWrittenAtRest": {str(size): count for size, count in self.written.items()},
            "installs": {str(size): found for size, found in self.installs.items()},
            "coldStartSeconds": {str(size): spread.as_json() for size, spread in self.cold.items()},
            "upgradesAtOnce": self.upgrades,
        }

    def broken(self) -> list[str]:
        most = max(self.options.sizes)
        ours, peer = self.ours[most], self.argo_alone[most]
        faults = []
        if ours.memory_mb.median > peer.memory_mb.median:
            faults.append(
                f"memory with {most} releases: {ours.memory_mb.median:.0f} MB, Argo Rollouts' "
                f"{peer.memory_mb.median:.0f} MB"
            )
        if ours.cpu.median >= CPU_PERCENT:
            faults.append(f"CPU at rest: {ours.cpu.median:.2f} % of a core")
        if any(self.written.values()):
            faults.append(f"releases written at rest: {self.written}")
        if max(self.cold[most].values) > COLD_SECONDS:
            faults.append(f"cold start: {max(self.cold[most].values):.1f} s")
        for number, found in enumerate(self.upgrades, 1):
            late = found["wakeToDecisionSeconds"]["p99"]
            if late is None or late > DECISION_SECONDS:
                faults.append(f"round {number}: wake to decision p99 {late} s")
            if found["succeeded"] < self.options.upgrading:
                faults.append(
                    f"round {number}: {found['succeeded']:.0f} of {self.options.upgrading} succeeded"
                )
        grown = self.upgrades[-1]["restMB"]["median"] - self.upgrades[0]["restMB"]["median"]
        if grown > FLAT_MB:
            faults.append(f"memory grew by {grown:.1f} MB from the first round of upgrades to the last")
        return faults

    def lines(self) -> list[str]:
        rows = [
            ["at rest", "memory", "CPU of a core", "Argo memory", "Argo CPU", "memory / Argo's", "cold start"]
        ]
        for size in self.options.sizes:
            ours, peer = self.ours[size], self.argo_alone[size]
            rows.append(
                [
                    f"{size}",
                    ours.memory_mb.text("MB", 0),
                    ours.cpu.text("%", 2),
                    peer.memory_mb.text("MB", 0),
                    peer.cpu.text("%", 2),
                    f"{ours.memory_mb.median / peer.memory_mb.median:.2f}",
                    self.cold[size].text("s"),
                ]
            )
        more = [["", "seconds", "p50", "p99 decision", "CPU of a core", "peak memory", "memory after"]]
        for number, found in enumerate(self.upgrades, 1):
            decision = found["wakeToDecisionSeconds"]
            more.append(
                [
                    f"{found['upgrades']} at once, {number}",
                    f"{found['seconds']:.0f}",
                    _milliseconds(decision["p50"]),
                    _milliseconds(decision["p99"]),
                    f"{found['cpuPercentOfACore']:.0f} %",
                    f"{found['memoryMB']['greatest']:.0f} MB",
                    f"{found['restMB']['median']:.0f} MB",
                ]
            )
        return [*columns(rows), "", *columns(more)]


def under_way(recording: Recording) -> dict[str, Any]:
    """What a program did while something was under way."""
    return {
        "cpuPercentOfACore": round(recording.cpu_percent, 1),
        "memoryMB": recording.memory_mb.as_json(),
        "wakeToDecisionSeconds": {
            name: recording.quantile("mc_wake_to_decision_seconds", share)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        },
        "decisions": recording.grown("mc_wake_to_decision_seconds_count"),
        "queueWaitP99Seconds": recording.quantile("mc_queue_wait_seconds", 0.99),
        "glances": recording.grown("mc_looks_total", basis="watches"),
        "reads": recording.grown("mc_looks_total", basis="read"),
        "statusWrites": recording.grown("mc_status_writes_total"),
        "effects": recording.grown("mc_effects_total"),
        "passErrors": recording.grown("mc_pass_errors_total"),
        "watchEvents": recording.grown("mc_watch_events_total"),
    }


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.0f} ms"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def parse(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--upgrading", type=int, default=UPGRADING)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--windows", type=int, default=5, help="of rest, for median and spread")
    parser.add_argument("--window-seconds", type=float, default=60.0)
    given = parser.parse_args(argv)
    return Options(tuple(given.sizes), given.upgrading, given.rounds, given.windows, given.window_seconds)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    around = circumstances()
    deliver(select(), ["conductor:dev", *peers.IMAGES])
    with connect() as kube:
        bench = Bench(kube, options)
        try:
            bench.run()
        finally:
            RESULTS.mkdir(exist_ok=True)
            partial = RESULTS / "scale.json.partial"
            partial.write_text(
                json.dumps({"benchmark": "scale", **around, **bench.as_json()}, indent=1) + "\n"
            )
    broken = bench.broken()
    path = RESULTS / "scale.json"
    document = {"benchmark": "scale", **around, **bench.as_json(), "broken": broken}
    path.write_text(json.dumps(document, indent=1) + "\n")
    partial.unlink()
    print("\n".join(["", *bench.lines(), ""]))
    for fault in broken:
        print(f"NOT AS PROMISED: {fault}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
