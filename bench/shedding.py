"""How clients that hold a connection are moved, by protocol: after a switch in waves, after a rollback by the drain.

HTTP/1.1 keep-alive, HTTP/2, gRPC calls, one gRPC stream and WebSocket against an application that says goodbye as each
protocol means it to be done (bench/load/shedapp): no request may fail, every client has to move, and the pods that
serve may at no moment be fewer than before. What is done is kept in `bench/results/shedding.checkpoint.json`: a run
that breaks off goes on there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness import operator_install
from harness.kube import Kube, connect
from harness.load_summary import PROTOCOLS
from harness.namespaces import namespace
from harness.releases import Release
from harness.shedapp import NAME, OLD_VERSION, ShedappOptions, release_spec
from harness.shedding import PATIENCE_SECONDS, Shedding, Turn, quantile, shed_and_return
from measure import circumstances
from scenarios.checkpoint import Checkpoint
from scenarios.tables import columns, seconds

RESULTS = Path(__file__).resolve().parent / "results"
CHECKPOINT = RESULTS / "shedding.checkpoint.json"
#: The soak is ended by the command to go back.
SOAK = "10m"
TURNS = ("switch", "rollback")
Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is measured. `clients` of each protocol, each of which asks about once in `pace_seconds`."""

    clients: int
    pace_seconds: float
    replicas: int
    drain_seconds: int
    waiter: str

    def application(self) -> ShedappOptions:
        return ShedappOptions(
            replicas=self.replicas, soak=SOAK, drain_seconds=self.drain_seconds, waiter=self.waiter
        )


def repeat(kube: Kube, options: Options) -> Json:
    """One upgrade and its way back, in a namespace of their own."""
    with namespace(kube, "bench") as name:
        release = Release(kube, name, NAME)
        application = options.application()
        release.apply(release_spec(OLD_VERSION, application))
        release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        told = shed_and_return(
            release, application, clients=options.clients, pace_seconds=options.pace_seconds
        )
    return {
        "requests": told.load.requests,
        "failures": told.load.failures,
        "failuresByKind": told.load.failures_by_kind,
        "failureSamples": list(told.load.failure_samples),
        "faults": told.load.faults(),
        "notMoved": told.not_moved(),
        "switchedBackSeconds": _switched_back(told),
        "turns": {"switch": _turn(told, told.forward), "rollback": _turn(told, told.back)},
    }


def _switched_back(told: Shedding) -> float | None:
    upgrade = told.upgrade
    if upgrade.decided_at is None or upgrade.switched_back_at is None:
        return None
    return (upgrade.switched_back_at - upgrade.decided_at).total_seconds()


def _turn(told: Shedding, turn: Turn) -> Json:
    return {
        "capacity": asdict(turn.capacity),
        "protocols": {kind: _protocol(told, turn, kind) for kind in PROTOCOLS},
    }


def _protocol(told: Shedding, turn: Turn, kind: str) -> Json:
    clients = list(told.clients(kind))
    return {
        "clients": len(clients),
        "leftAfter": [left for client in clients if (left := turn.left_after(client)) is not None],
        "longestGap": max((turn.longest_gap(client) for client in clients), default=None),
        # Over both turns: a client does not say in which one it failed, or was asked to ask again.
        "longestWait": max((client.longest_wait_seconds for client in clients), default=None),
        "failed": sum(client.failures for client in clients),
        "askedAgain": sum(client.asked_again for client in clients),
    }


def table(parts: Sequence[Json], turn: str) -> list[str]:
    """Each protocol over all repeats."""
    head = ["clients", "moved: median", "p99", "last", "longest gap", "failed", "asked again", "pods started"]
    started = sorted(part["turns"][turn]["capacity"]["started"] for part in parts)
    rows = [[f"after the {turn}", *head]]
    for kind, protocol in PROTOCOLS.items():
        found = [part["turns"][turn]["protocols"][kind] for part in parts]
        left = [value for one in found for value in one["leftAfter"]]
        rows.append(
            [
                protocol,
                f"{len(left)} of {sum(one['clients'] for one in found)}",
                *(seconds(quantile(left, share) if left else None) for share in (0.5, 0.99, 1.0)),
                seconds(max(one["longestGap"] for one in found)),
                str(sum(one["failed"] for one in found)),
                str(sum(one["askedAgain"] for one in found)),
                _spread(started),
            ]
        )
    return columns(rows)


def capacity(parts: Sequence[Json]) -> list[str]:
    """The fewest ready pods of all repeats."""
    rows = [["fewest ready pods", "serving", "standby", "before"]]
    for turn in TURNS:
        found = [part["turns"][turn]["capacity"] for part in parts]
        standby = [one["standby"] for one in found if one["standby"] is not None]
        fewest = str(min(one["serving"] for one in found))
        rows.append([turn, fewest, str(min(standby)) if standby else "-", str(found[0]["replicas"])])
    return columns(rows)


def _spread(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def broken(parts: Mapping[str, Json]) -> Iterable[str]:
    """What was not as promised, in words."""
    for name, part in parts.items():
        yield from (f"{name}: {fault}" for fault in (*part["faults"], *part["notMoved"]))
        for turn in TURNS:
            found = part["turns"][turn]["capacity"]
            for colour in ("serving", "standby"):
                if found[colour] is not None and found[colour] < found["replicas"]:
                    yield f"{name}, {turn}: {colour} had {found[colour]} of {found['replicas']} pods ready"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clients", type=int, default=10, help="of each protocol")
    parser.add_argument(
        "--pace-seconds", type=float, default=0.5, help="a client's mean time between requests"
    )
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--drain-seconds", type=int, default=2)
    parser.add_argument(
        "--waiter", choices=("Silence", "Settled"), default="", help="end the hook early (docs/traffic.md)"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the repeats that are done")
    arguments = parser.parse_args(argv)
    options = Options(
        clients=arguments.clients,
        pace_seconds=arguments.pace_seconds,
        replicas=arguments.replicas,
        drain_seconds=arguments.drain_seconds,
        waiter=arguments.waiter,
    )
    around = circumstances()
    with connect() as kube:
        operator_install.install(kube)
        about = {
            "cluster": kube.need("Namespace", "kube-system")["metadata"]["uid"],
            "options": asdict(options),
        }
        if arguments.fresh:
            CHECKPOINT.unlink(missing_ok=True)
        done = Checkpoint(CHECKPOINT, about)
        parts: dict[str, Json] = {}
        for number in range(1, arguments.repeats + 1):
            name = f"repeat {number}"
            known, began = name in done.parts, time.monotonic()
            parts[name] = done.part(name, partial(repeat, kube, options))
            part = parts[name]
            took = "done before" if known else f"{time.monotonic() - began:.0f} s"
            print(f"{name}: {took}, {part['failures']} of {part['requests']} failed", flush=True)
    found = list(parts.values())
    faults = list(broken(parts))
    lines = [line for turn in TURNS for line in (*table(found, turn), "")] + capacity(found)
    path = RESULTS / f"shedding{'-' if options.waiter else ''}{options.waiter.lower()}.json"
    document = {
        "benchmark": "shedding",
        **around,
        "options": asdict(options),
        "repeats": parts,
        "broken": faults,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    done.finished()
    print("\n".join(["", *lines, ""]))
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
