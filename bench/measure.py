"""The benchmarks of docs/benchmarks.md: each measures one promise and says whether it was kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import operator_install
from harness.kube import Kube, connect
from harness.load_run import LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary, merge
from harness.mc_install import Mc
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions
from harness.releases import Release
from harness.waiting import wait_for_objects
from scenarios.applications import Application, Podinfo
from scenarios.tables import columns, comparison, seconds
from scenarios.upgrades import Measured, upgrade_under_load, wait_started, watch_live

RESULTS = Path(__file__).resolve().parent / "results"
#: Times as in the demo: a soak long enough to shed every connection, a window that fills in it.
MC_VALUES = {"soak": "30s", "traffic.switchHealth.window": "20s"}
NEW_CLIENTS_SECONDS, KEEP_ALIVE_SECONDS = 2.0, 10.0
BAD_PODINFO = f"{OLD_VERSION} --random-error"


@dataclass(frozen=True)
class Plan:
    """A good and a bad version, how many requests a run makes at least, and how many runs."""

    good: str
    bad: str
    runs: int
    requests: int


@dataclass(frozen=True)
class Finding:
    """What a benchmark leaves: numbers for a file, lines for a person, and what was not as promised."""

    data: dict[str, Any]
    lines: list[str]
    broken: list[str]


def good_then_bad(application: Application, good: str, bad: str, requests: int) -> list[Measured]:
    """One upgrade that must go through and one that must be refused, half of the requests each."""
    return [
        upgrade_under_load(application, f"(a) {good}", good, requests=requests // 2),
        upgrade_under_load(application, f"(b) {bad}", bad, requests=requests - requests // 2),
    ]


def upgrades(kube: Kube, make: Callable[[str], Application], plan: Plan) -> Finding:
    """Several runs, each in a namespace of its own, none with a failed request."""
    rows = [
        ["run", "requests", "failed", "POSTs", "missing", "twice", "(a)", "(b)", "met bad", "p95", "switch"]
    ]
    data: list[dict[str, Any]] = []
    broken: list[str] = []
    for number in range(1, plan.runs + 1):
        with namespace(kube, "bench") as name:
            application = make(name)
            application.install()
            measured = good_then_bad(application, plan.good, plan.bad, plan.requests)
        print("\n".join(comparison(measured)), flush=True)
        total = merge([item.load for item in measured])
        outcomes = [item.upgrade.outcome for item in measured]
        met_bad = met(measured[1])
        broken += [f"run {number}: {fault}" for fault in total.faults()]
        if outcomes != ["Succeeded", "Refused"] or met_bad:
            broken.append(f"run {number}: ended as {outcomes}, users had {met_bad} answers of {plan.bad}")
        if total.requests < plan.requests:
            broken.append(f"run {number}: only {total.requests} requests of {plan.requests}")
        rows.append(
            [
                str(number),
                f"{total.requests:,}",
                str(total.failures),
                f"{total.writes.acknowledged:,}",
                str(total.writes.missing),
                str(total.writes.duplicates),
                *outcomes,
                str(met_bad),
                f"{total.latency.quantile_ms(0.95):.0f} ms",
                seconds(measured[0].switch_seconds),
            ]
        )
        data.append({"run": number, "upgrades": [item.as_json() for item in measured]})
    return Finding({"runs": data}, columns(rows), broken)


def met(item: Measured) -> int:
    """Answers that users had of a version while nothing but it and its forerunner were there."""
    return item.users_met(item.upgrade.to_version) if item.upgrade.to_version != OLD_VERSION else 0


def switch(kube: Kube, options: argparse.Namespace) -> Finding:
    """mc: 0 failed of at least 50,000 requests over (a) and (b), five runs in a row."""
    plan = Plan("1.1.0", "1.2.0-bad", options.runs or 5, options.requests)
    return upgrades(kube, lambda name: Mc(kube, name, values=MC_VALUES), plan)


def podinfo(kube: Kube, options: argparse.Namespace) -> Finding:
    """podinfo: the same, with a version that answers a third of its requests with errors as the bad one."""
    plan = Plan(NEW_VERSION, BAD_PODINFO, options.runs or 5, options.requests)
    return upgrades(kube, lambda name: Podinfo(kube, name), plan)


def rollback(kube: Kube, options: argparse.Namespace) -> Finding:
    """After the decision to go back: the last answer of the losing colour.

    1.2.1-slow is taken back by the operator itself, soon after the switch; the others by annotation
    once the soak has moved every client, so that those with kept connections are on the losing colour.
    """
    tries = options.runs or 5
    outcome = Rollbacks()
    with namespace(kube, "bench") as name:
        slow = Mc(kube, name, first_version="1.1.0", values=MC_VALUES)
        outcome.add(slow, "1.2.1-slow", tries)
    with namespace(kube, "bench") as name:
        outcome.add(Mc(kube, name, values=MC_VALUES | {"soak": "5m"}), "1.1.0", tries, command=True)
    with namespace(kube, "bench") as name:
        outcome.add(Podinfo(kube, name, PodinfoOptions(soak="5m")), NEW_VERSION, tries, command=True)
    return outcome.finding()


class Rollbacks:
    """Tries of several applications, and what was not as promised."""

    def __init__(self) -> None:
        self.rows = [
            ["version", "try", "outcome", "failed", "traffic back", "new clients", "keep-alive clients"]
        ]
        self.data: list[dict[str, Any]] = []
        self.broken: list[str] = []
        self.took: dict[str, list[float]] = {}

    def add(self, application: Application, version: str, tries: int, *, command: bool = False) -> None:
        """Install, then upgrade and go back as often as asked."""
        application.install()
        follow = roll_back_in_soak if command else watch_live
        for number in range(1, tries + 1):
            ask = None if number == 1 else retry(application)
            item = upgrade_under_load(application, f"{version}, {number}", version, ask=ask, watch=follow)
            self.take(item, version, number)

    def take(self, item: Measured, version: str, number: int) -> None:
        new, held = item.last_answer_seconds(ONE_SHOT), item.last_answer_seconds(KEEP_ALIVE)
        cells = [item.upgrade.outcome, str(item.load.failures), seconds(item.rollback_seconds)]
        self.rows.append([version, str(number), *cells, seconds(new), seconds(held)])
        self.data.append(item.as_json())
        where = f"{version}, try {number}"
        self.broken += [f"{where}: {fault}" for fault in item.load.faults()]
        if item.upgrade.outcome != "RolledBack":
            self.broken.append(f"{where}: ended as {item.upgrade.outcome}: {item.upgrade.message}")
        for who, took, limit in (
            ("new clients", new, NEW_CLIENTS_SECONDS),
            ("keep-alive clients", held, KEEP_ALIVE_SECONDS),
        ):
            if took is None:
                continue
            self.took.setdefault(f"{version}, {who}, of {limit:.0f} s", []).append(took)
            if took > limit:
                self.broken.append(
                    f"{where}: {who} heard it {took:.1f} s after the decision, promised {limit:.0f} s"
                )

    def finding(self) -> Finding:
        spread = [
            f"{what}: median {statistics.median(took):.2f} s, {min(took):.2f} to {max(took):.2f} s"
            for what, took in self.took.items()
        ]
        return Finding({"tries": self.data}, [*columns(self.rows), "", *spread], self.broken)


def roll_back_in_soak(release: Release) -> None:
    """Wait until shedding has moved every client, then ask to go back, and follow that to its end."""

    def shed(item: dict[str, Any]) -> bool:
        status = item.get("status") or {}
        if not status.get("upgrade"):
            raise RuntimeError(f"the upgrade ended before its soak: {status.get('message')}")
        return status.get("phase") == "Soaking" and status.get("reason") == "Soaking" and shed_is_over(status)

    release.wait(shed, what="Soaking with every client moved", deadline_seconds=300)
    wait_for_objects(
        release.kube,
        "Pod",
        release.namespace,
        lambda pods: all("deletionTimestamp" not in pod["metadata"] for pod in pods),
        what="no pod on its way out",
        deadline_seconds=60,
    )
    release.command("rollback")
    watch_live(release)


def shed_is_over(status: dict[str, Any]) -> bool:
    """Whether the soak only waits for time: its message then says that the window is open."""
    return "rollback window open" in status.get("message", "")


def refusal(kube: Kube, options: argparse.Namespace) -> Finding:
    """mc: 1.2.0-bad is refused every time, and no user meets it."""
    rows = [["try", "outcome", "verification requests", "errors", "users met it", "took"]]
    data: list[dict[str, Any]] = []
    broken: list[str] = []
    with namespace(kube, "bench") as name:
        application = Mc(kube, name, first_version="1.1.0", history_rows=1000, values=MC_VALUES)
        application.install()
        release = application.release
        with LoadRun(kube, application.load(keep_alive_clients=10, one_shot_clients=10, rate=50)) as run:
            for number in range(1, (options.runs or 20) + 1):
                before = (release.status().get("lastUpgrade") or {}).get("id")
                if number == 1:
                    application.ask_for("1.2.0-bad")
                else:
                    release.command("retry")
                wait_started(release, before)
                watch_live(release)
                ended = release.last_upgrade()
                if ended.outcome != "Refused":
                    broken.append(f"try {number}: ended as {ended.outcome}: {ended.message}")
                took = (ended.ended_at - ended.started_at).total_seconds()
                rows.append([str(number), ended.outcome, *evidence(ended.message), "", seconds(took)])
                data.append(
                    {"try": number, "outcome": ended.outcome, "message": ended.message, "seconds": took}
                )
            summary: LoadSummary = run.stop()
    answers = summary.versions.get("1.2.0-bad")
    if answers is not None:
        broken.append(f"users had {answers.answers} answers of 1.2.0-bad")
    for row in rows[1:]:
        row[4] = "0" if answers is None else "yes"
    broken += summary.faults()
    return Finding({"tries": data, "load": summary.line()}, columns(rows), broken)


def evidence(message: str) -> tuple[str, str]:
    """Requests and failures as the operator's own sentence gives them: `16 of 315 requests ...`."""
    words = message.split()
    for index, word in enumerate(words[1:-2], start=1):
        if word == "of" and words[index + 2].startswith("requests"):
            return words[index + 1], words[index - 1]
    return "-", "-"


def retry(application: Application) -> Callable[[], None]:
    def ask() -> None:
        application.release.command("retry")

    return ask


BENCHMARKS: dict[str, Callable[[Kube, argparse.Namespace], Finding]] = {
    "switch": switch,
    "podinfo": podinfo,
    "rollback": rollback,
    "refusal": refusal,
}


def circumstances() -> dict[str, Any]:
    commit = subprocess.run(
        ("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "loadAverageBefore": os.getloadavg()[0],
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--runs", type=int, default=0, help="how often (default: as promised)")
    parser.add_argument("--requests", type=int, default=50_000, help="fewest requests of a run")
    options = parser.parse_args(argv)
    benchmark = BENCHMARKS[options.benchmark]
    print(f"{options.benchmark}: {benchmark.__doc__}", flush=True)
    around = circumstances()
    with connect() as kube:
        operator_install.install(kube)
        finding = benchmark(kube, options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{options.benchmark}.json"
    document = {"benchmark": options.benchmark, **around, **finding.data, "broken": finding.broken}
    path.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(["", *finding.lines, ""]))
    for fault in finding.broken:
        print(f"NOT AS PROMISED: {fault}")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 1 if finding.broken else 0


if __name__ == "__main__":
    sys.exit(main())
