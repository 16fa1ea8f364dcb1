"""`make bench-scale`: a thousand releases at rest and a hundred upgrading at once, beside Argo Rollouts.

Pods are kwok's and cost nothing; their traffic is synthetic (bench/scale_traffic.py), one small server answers what
is sent to any of them, and node proxies are not asked (`nodeProof: Off`), because those nodes have none. Everything
else is real: the API server, the operator as its chart installs it, Prometheus. Argo Rollouts is measured first, while
there is nothing else in the cluster, and once more at the same time as the operator.

What is done is kept in `bench/results/scale.checkpoint.json`: a run that breaks off goes on there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cluster.images import deliver
from cluster.interface import select
from harness import audit, operator_install
from harness.kube import ApiError, Kube, connect
from harness.waiting import poll
from measure import RESULTS, circumstances
from scenarios import fleet, peers, scale_report
from scenarios.checkpoint import Checkpoint, StopBeforeError
from scenarios.processes import Metrics, Process, Recording, Rest, Spread, at_rest

SIZES = (10, 100, 1000)
UPGRADING = 100

COLD_STARTS = 2
VALUES = ("nodeProof=Off", "logLevel=warning", "resources.limits.memory=2Gi")
CHECKPOINT = RESULTS / "scale.checkpoint.json"
_GROW_SECONDS = 1800.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """How a hundred upgrades are asked for: over so many seconds, and at what pace each goes."""

    name: str
    over_seconds: float
    pace: fleet.Pace


#: The first as a fleet is upgraded by the product's defaults: the last begins while the first is still in its soak, so
#: that all of them are under way at once for minutes. The others as hard as they can be.
ROUNDS = (
    Round("defaults", 300.0, fleet.Pace.DEFAULT),
    Round("short", 60.0, fleet.Pace.SHORT),
    Round("short, in one blow", 0.0, fleet.Pace.SHORT),
)


@dataclass(frozen=True)
class Options:
    sizes: tuple[int, ...]
    upgrading: int
    rounds: tuple[str, ...]
    windows: int
    window_seconds: float
    stop_before: str


class Bench:
    """Its parts, in the order in which they are measured."""

    def __init__(self, kube: Kube, options: Options, done: Checkpoint) -> None:
        self.kube = kube
        self.options = options
        self.done = done
        self.releases = fleet.releases(kube)
        self.rollouts = fleet.rollouts(kube)

    def run(self) -> None:
        """Raises StopBeforeError where the options say so."""
        self._part("argo/installed", self._install_argo)
        argo = peers.argo_rollouts(self.kube)
        self.rollouts.adopt()
        for size in self.options.sizes:
            self._part(f"argo/{size}/made", partial(self._grow_rollouts, size))
            self._part(f"argo/{size}/rest", lambda: {"argo": self._rest({"argo": argo})["argo"].as_json()})

        self._part("operator/installed", self._install_operator)
        operator = Process(self.kube, operator_install.NAMESPACE, operator_install.SELECTOR, 8080)
        self.releases.adopt()
        for size in self.options.sizes:
            self._part(f"operator/{size}/made", partial(self._grow_releases, operator, size))
            self._part(f"operator/{size}/rest", partial(self._operator_at_rest, operator))
            self._part(f"operator/{size}/cold", partial(self._cold_starts, operator, size))
        both = {"operator": operator, "argo": argo}
        self._part("both/rest", lambda: {name: rest.as_json() for name, rest in self._rest(both).items()})

        for chosen in ROUNDS:
            if chosen.name in self.options.rounds:
                self._part(f"upgrades/{chosen.name}", partial(self._upgrades, operator, chosen))
        self._part("both/after", lambda: {name: rest.as_json() for name, rest in self._rest(both).items()})

    def _part(self, name: str, measure: Callable[[], Json]) -> None:
        known = name in self.done.parts
        began = time.monotonic()
        self.done.part(name, measure)
        say(f"{name}: " + ("done before" if known else f"{time.monotonic() - began:.0f} s"))

    # Argo Rollouts

    def _install_argo(self) -> Json:
        peers.install_kwok(self.kube)
        peers.install_argo_rollouts(self.kube)
        self.kube.apply_all(fleet.namespaces("argo"))
        return {}

    def _grow_rollouts(self, size: int) -> Json:
        began = time.monotonic()
        made = self.rollouts.grow(size, deadline_seconds=_GROW_SECONDS)
        return {"made": made, "seconds": round(time.monotonic() - began, 1)}

    # the operator

    def _install_operator(self) -> Json:
        peers.install_traffic(self.kube)
        operator_install.install(self.kube, values=VALUES)
        self.kube.apply_all(fleet.namespaces("scale"))
        return {}

    def _grow_releases(self, operator: Process, size: int) -> Json:
        began = time.monotonic()
        with Recording(operator) as recording:
            made = self.releases.grow(size, deadline_seconds=_GROW_SECONDS)
        return {"made": made, "seconds": round(time.monotonic() - began, 1), **under_way(recording)}

    def _operator_at_rest(self, operator: Process) -> Json:
        # A release is Stable before the last preview Service of its installation is gone.
        time.sleep(self.options.window_seconds)
        before = self.releases.resource_versions()
        since = datetime.now(UTC)
        found = self._rest({"operator": operator})["operator"].as_json()
        until = datetime.now(UTC)
        after = self.releases.resource_versions()
        account = operator.pod_object()["spec"]["serviceAccountName"]
        asked = audit.counted(
            f"system:serviceaccount:{operator.namespace}:{account}", audit.log_directory(), since, until
        )
        return {
            "operator": found,
            "releasesWritten": sum(after[uid] != version for uid, version in before.items()),
            "requests": {str(right): count for right, count in sorted(asked.items())},
            "requestsSeconds": round((until - since).total_seconds(), 1),
        }

    def _rest(self, processes: dict[str, Process]) -> dict[str, Rest]:
        # What was just made is still talked about: the API server's own work must not count as rest.
        time.sleep(self.options.window_seconds)
        return at_rest(processes, windows=self.options.windows, seconds=self.options.window_seconds)

    def _cold_starts(self, operator: Process, size: int) -> Json:
        found = Spread([self._cold_start(operator, size) for _ in range(COLD_STARTS)])
        return {"seconds": found.as_json()}

    def _cold_start(self, operator: Process, size: int) -> float:
        """Seconds from the start of the process until every release was looked at."""
        former = operator.pod()
        self.kube.delete("Pod", former, operator.namespace)

        def all_seen() -> Metrics | None:
            try:
                if (pod := operator.pod()) == former:
                    return None
                found = operator.read(pod)
            except (LookupError, ApiError, OSError):
                return None
            return found if found.sum("mc_releases_looked_at") >= size else None

        found = poll(all_seen, what=f"{size} releases seen", deadline_seconds=300, every_seconds=0.2)
        return time.time() - found.started_at

    def _upgrades(self, operator: Process, chosen: Round) -> Json:
        numbers = range(self.options.upgrading)
        if len({self.releases.versions[index] for index in numbers}) > 1:
            # A round broke off while it was asked for.
            self.releases.ask(numbers, fleet.FIRST)
        self.releases.wait(deadline_seconds=_GROW_SECONDS)
        version = fleet.FIRST if self.releases.versions[0] == fleet.SECOND else fleet.SECOND
        with Recording(operator) as recording:
            began = time.monotonic()
            self.releases.ask(numbers, version, over_seconds=chosen.over_seconds, pace=chosen.pace)
            asked = time.monotonic() - began
            at_once = self.releases.upgrading()
            self.releases.wait(deadline_seconds=_GROW_SECONDS)
            took = time.monotonic() - began
        rest = self._rest({"operator": operator})["operator"]
        return {
            "upgrades": self.options.upgrading,
            "askedInSeconds": round(asked, 1),
            "underWayWhenAllWereAskedFor": at_once,
            "seconds": round(took, 1),
            "succeeded": recording.grown("mc_upgrades_total", outcome="Succeeded"),
            "ended": recording.grown("mc_upgrades_total"),
            "processStarted": recording.end.started_at,
            **under_way(recording),
            "rest": rest.as_json(),
        }


def under_way(recording: Recording) -> Json:
    """What a program did while something was under way."""
    return {
        "cpuPercentOfACore": round(recording.cpu_percent, 1),
        "memoryMB": recording.memory_mb.as_json(),
        "wakeToDecisionSeconds": late(recording),
        # Of these alone something may follow; a glance only finds that nothing is to be done.
        "readWakeToDecisionSeconds": late(recording, basis="read"),
        "decisions": recording.grown("mc_wake_to_decision_seconds_count"),
        "queueWaitP99Seconds": recording.quantile("mc_queue_wait_seconds", 0.99),
        "sampleWaitP99Seconds": recording.quantile("mc_sample_wait_seconds", 0.99),
        "probeWaitP99Seconds": recording.quantile("mc_probe_wait_seconds", 0.99),
        "requestsOfOurs": recording.grown("mc_probe_wait_seconds_count"),
        "glances": recording.grown("mc_looks_total", basis="watches"),
        "reads": recording.grown("mc_looks_total", basis="read"),
        "statusWrites": recording.grown("mc_status_writes_total"),
        "effects": recording.grown("mc_effects_total"),
        "passErrors": recording.grown("mc_pass_errors_total"),
        "watchEvents": recording.grown("mc_watch_events_total"),
    }


def late(recording: Recording, **only: str) -> Json:
    """How late decisions came."""
    shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    return {name: recording.quantile("mc_wake_to_decision_seconds", share, **only) for name, share in shares}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def parse(argv: Sequence[str] | None) -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--upgrading", type=int, default=UPGRADING)
    names = tuple(chosen.name for chosen in ROUNDS)
    parser.add_argument("--rounds", nargs="+", choices=names, default=names)
    parser.add_argument("--windows", type=int, default=3, help="of rest, for median and spread")
    parser.add_argument("--window-seconds", type=float, default=15.0)
    parser.add_argument(
        "--stop-before", default="", metavar="PART", help="for now; the next run goes on there"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the parts that are done")
    given = parser.parse_args(argv)
    settings = vars(given)
    fresh = settings.pop("fresh")
    return Options(**{**settings, "sizes": tuple(given.sizes), "rounds": tuple(given.rounds)}), fresh


def main(argv: Sequence[str] | None = None) -> int:
    options, fresh = parse(argv)
    deliver(select(), ["conductor:dev", *peers.IMAGES])
    with connect() as kube:
        measured = {key: value for key, value in asdict(options).items() if key != "stop_before"}
        about = {"cluster": kube.need("Namespace", "kube-system")["metadata"]["uid"], "options": measured}
        if fresh:
            CHECKPOINT.unlink(missing_ok=True)
        done = Checkpoint(CHECKPOINT, about, stop_before=options.stop_before)
        done.part("circumstances", circumstances)
        try:
            Bench(kube, options, done).run()
        except StopBeforeError as stop:
            say(f"stopped before {stop}; the next run goes on there")
            return 0
    report = scale_report.Report(options.sizes, options.upgrading, options.rounds, done.parts)
    path = RESULTS / "scale.json"
    document = {"benchmark": "scale", "options": measured, "parts": done.parts, "broken": report.broken()}
    path.write_text(json.dumps(document, indent=1) + "\n")
    done.finished()
    print("\n".join(["", *report.lines(), ""]))
    for fault in report.broken():
        print(f"NOT AS PROMISED: {fault}")
    return 1 if report.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
