"""How long clients that call through two components meet two versions in one transaction: the default beside Strict.

Both in the same run, by turns, over an upgrade (to the end of shedding) and a rollback each time. What was measured
already is kept for as long as the cluster and the plan are the same; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.paths import cache_root
from harness import operator_install, pairs
from harness.kube import Kube, connect
from harness.load_run import LoadRun
from harness.namespaces import namespace
from harness.podinfo import NEW_VERSION, OLD_VERSION, PodinfoOptions, changed
from harness.releases import Release
from measure import RESULTS, circumstances
from scenarios.checkpoint import Checkpoint
from scenarios.tables import columns

OPTIONS = PodinfoOptions(replicas=3, soak="10m", window="15s")
PATIENCE_SECONDS = 180.0
#: Steady transactions before and after each move, so that its edges are seen as well.
AROUND = 1000
MODES = ("Fast", "Strict")
MOVES = ("upgrade", "rollback")


class Plane:
    """One release of two components that is upgraded and taken back again and again."""

    def __init__(self, kube: Kube, namespace: str, mode: str, options: argparse.Namespace) -> None:
        self.release = Release(kube, namespace, pairs.NAME)
        self._strict = mode == "Strict"
        self._plan = pairs.load_plan(
            namespace,
            rate=options.rate,
            keep_alive_clients=options.clients // 2,
            one_shot_clients=options.clients - options.clients // 2,
        )

    def install(self) -> None:
        self.release.apply(pairs.release_spec(OLD_VERSION, OPTIONS, strict=self._strict))
        self.release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)

    def there_and_back(self, number: int) -> dict[str, Any]:
        """One upgrade and one rollback; what failed once is not tried again, so that each has a label of its own."""
        label = {"components__0__template__metadata__labels__try": f"n{number}"}
        spec = changed(pairs.release_spec(NEW_VERSION, OPTIONS, strict=self._strict), **label)

        def up() -> None:
            self.release.apply(spec)
            self.release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
            self.release.wait_shed(deadline_seconds=PATIENCE_SECONDS)

        def back() -> None:
            self.release.command("rollback")
            self.release.wait_upgrade(
                NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
            )

        upgrade = self._measured(up, NEW_VERSION)
        return {"upgrade": upgrade, "rollback": self._measured(back, OLD_VERSION)}

    def _measured(self, move: Callable[[], None], version: str) -> dict[str, Any]:
        with LoadRun(self.release.kube, self._plan, name="pair-users") as users:
            users.wait_requests(AROUND, deadline_seconds=120)
            move()
            met = users.wait_version(pairs.both(version), deadline_seconds=60, only=True)
            users.wait_requests(met.requests + AROUND, deadline_seconds=120)
            summary = users.stop()
        found = pairs.mixed(summary)
        return {
            "transactions": summary.requests,
            "failed": summary.failures,
            "incomplete": pairs.incomplete(summary),
            "mixed": found.count,
            "mixedSeconds": round(found.seconds, 3),
            "pairs": {pair: report.answers for pair, report in summary.versions.items()},
        }


def measure(kube: Kube, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every repeat of both modes, by turns; each mode has a namespace for as long as it is needed."""
    plan = {"rate": options.rate, "clients": options.clients, "commit": circumstances()["commit"]}
    about = {"cluster": kube.need("Namespace", "kube-system")["metadata"]["uid"], **plan}
    checkpoint = Checkpoint(cache_root() / "consistency" / "parts.json", about)
    planes: dict[str, Plane] = {}
    with ExitStack() as stack:
        for number in range(1, options.repeats + 1):
            for mode in MODES:

                def part(mode: str = mode, number: int = number) -> dict[str, Any]:
                    if mode not in planes:
                        name = stack.enter_context(namespace(kube, f"bench-{mode.lower()}"))
                        planes[mode] = Plane(kube, name, mode, options)
                        planes[mode].install()
                    return planes[mode].there_and_back(number)

                found = checkpoint.part(f"{mode} {number}", part)
                print(f"{mode} {number}: {json.dumps(found)}", flush=True)
    wanted = {f"{mode} {number}" for mode in MODES for number in range(1, options.repeats + 1)}
    parts = {name: found for name, found in checkpoint.parts.items() if name in wanted}
    checkpoint.finished()
    return parts


def report(parts: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The table, and what was not as promised."""
    rows = [
        ["", "transactions", "failed", "mixed, median", "all", "mixed time, median", "smallest", "largest"]
    ]
    broken: list[str] = []
    for mode in MODES:
        for move in MOVES:
            found = [part[move] for name, part in parts.items() if name.startswith(f"{mode} ")]
            counts = [item["mixed"] for item in found]
            took = [item["mixedSeconds"] for item in found]
            failed = sum(item["failed"] + item["incomplete"] for item in found)
            rows.append(
                [
                    f"{mode}, {move}",
                    f"{sum(item['transactions'] for item in found):,}",
                    str(failed),
                    f"{statistics.median(counts):,.0f}",
                    f"{sum(counts):,}",
                    f"{statistics.median(took):.2f} s",
                    f"{min(took):.2f} s",
                    f"{max(took):.2f} s",
                ]
            )
            if mode == "Strict" and sum(counts):
                broken.append(f"{mode}, {move}: {sum(counts)} mixed pairs, promised none")
            if failed:
                broken.append(f"{mode}, {move}: {failed} transactions failed")
    return columns(rows), broken


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="upgrades and rollbacks of each mode")
    parser.add_argument("--rate", type=int, default=200, help="transactions a second")
    parser.add_argument("--clients", type=int, default=40, help="half of them keep their connection")
    options = parser.parse_args(argv)
    around = circumstances()
    with connect() as kube:
        operator_install.install(kube)
        parts = measure(kube, options)
    lines, broken = report(parts)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "consistency.json"
    document = {"benchmark": "consistency", **around, "parts": parts, "broken": broken}
    path.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(["", *lines, ""]))
    for fault in broken:
        print(f"NOT AS PROMISED: {fault}")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
