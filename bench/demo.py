"""The demo: mc under load is upgraded, refused and rolled back, live; the cluster stays for you to try more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness import operator_install
from harness.kube import connect
from harness.mc_install import HISTORY_ROWS, Mc
from harness.namespaces import delete_namespace, make_namespace
from scenarios.tables import comparison
from scenarios.upgrades import Measured, upgrade_under_load

NAMESPACE = "demo"
#: Shorter than one would have them in production, so that a person can watch it.
VALUES = {"soak": "30s", "traffic.switchHealth.window": "20s"}
SCENES = (
    ("(a) good", "1.1.0", "Succeeded", "all phases, the schema of 100,000 rows included"),
    ("(b) bad", "1.2.0-bad", "Refused", "answers 5 % of requests with 500; no user must meet it"),
    ("(c) slow", "1.2.1-slow", "RolledBack", "slow only under users' concurrency; must be taken back"),
)


def heading(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def main() -> int:
    started = time.monotonic()
    measured: list[Measured] = []
    with connect() as kube:
        heading("1/5 the operator, by its chart")
        operator_install.install(kube)
        heading(
            f"2/5 mc 1.0.0 over PostgreSQL with {HISTORY_ROWS:,} rows, by its chart, in namespace {NAMESPACE}"
        )
        delete_namespace(kube, NAMESPACE)
        make_namespace(kube, NAMESPACE)
        application = Mc(kube, NAMESPACE, values=VALUES)
        application.install()
        for number, (name, version, _, about) in enumerate(SCENES, start=3):
            heading(f"{number}/5 {name}: to {version}: {about}")
            print(
                "    load: 50 keep-alive and 50 one-shot clients, 350 requests/s, 35 % POSTs, no retries\n",
                flush=True,
            )
            measured.append(upgrade_under_load(application, name, version))
    heading(f"what came out, after {(time.monotonic() - started) / 60:.1f} minutes")
    print("\n".join(comparison(measured)))
    print(f"load: {measured[0].load.loop}; an answer later than 10 s would count as failed")
    problems = [
        problem for item, scene in zip(measured, SCENES, strict=True) for problem in faults(item, scene[2])
    ]
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    here = Path(sys.argv[0]).resolve().parents[1]
    print(
        f"\nThe cluster stays. `cd {here} && make shell` opens a shell in which you can try:\n\n"
        f"  conductor status mc -n {NAMESPACE}\n"
        f"  kubectl -n {NAMESPACE} get controlplanereleases,deployments,pods,jobs\n"
        f"  conductor retry mc -n {NAMESPACE} && conductor watch mc -n {NAMESPACE}\n\n"
        "`make demo-down` removes it."
    )
    return 1 if problems else 0


def faults(item: Measured, outcome: str) -> list[str]:
    found = [f"{item.name}: {fault}" for fault in item.load.faults()]
    if item.upgrade.outcome != outcome:
        found.append(f"{item.name}: ended as {item.upgrade.outcome} ({item.upgrade.message}), not {outcome}")
    if outcome == "Refused" and item.users_met(item.upgrade.to_version):
        found.append(f"{item.name}: users met {item.upgrade.to_version}")
    return found


if __name__ == "__main__":
    sys.exit(main())
