"""What users feel of a ramp, a switch and a rollback: requests lost of a million, seconds on the losing version.

Thousands of connected clients of an application that says goodbye as HTTP means it to be done (bench/load/shedapp) are
ramped to another version, switched, shed, and taken back by command, again and again, by Services and by the routes of
a Gateway. A repeat takes one to two minutes. What is done is kept in `bench/results/traffic.checkpoint.json`: a run
that breaks off goes on there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness import gateway, operator_install
from harness.kube import Kube, connect
from harness.load_run import LoadPlan, LoadRun
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.namespaces import namespace
from harness.podinfo import changed
from harness.releases import Release, Upgrade
from harness.shedapp import NAME, NEW_VERSION, OLD_VERSION, ShedappOptions, release_spec
from measure import RESULTS, circumstances
from scenarios.checkpoint import Checkpoint
from scenarios.crash_matrix import key_of
from scenarios.tables import columns, seconds
from scenarios.upgrades import seconds_between

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = RESULTS / "traffic.checkpoint.json"
#: Repeats count together as long as these are the same.
CODE = [ROOT / "operator" / "conductor", ROOT / "bench" / "load"]
REQUESTS, REPEATS, CLIENTS = 1_000_000, 20, 5_000
#: Of the clients, those that open a connection for each request, and what all of them ask for in a second.
ONE_SHOT_SHARE, ONE_SHOT_RATE = 0.02, 50.0
#: Mean seconds from one request to the next of a client that keeps its connection, by provider; none is further from
#: it than JITTER. A Service's client hears in its next answer that it has to go: the promise cannot hold for one that
#: asks more seldom than the promise is long. A Gateway chooses anew for each request, however seldom one comes.
PACE_SECONDS = {"Service": 2.0, "GatewayAPI": 8.0}
JITTER = 0.2
#: At the latest; the application ends its hook as soon as nobody is left.
DRAIN_SECONDS = 10
#: Three pods of each version can express both, so that Services and routes are asked for the same.
RAMP = [{"weight": 25, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
#: Ended by the command to go back.
SOAK = "10m"
PATIENCE_SECONDS = 240.0
#: Seconds of steady traffic before the upgrade, on the new version, and after the way back.
STEADY_SECONDS = 5.0
#: Seconds from the decision to go back to the last answer of the losing version, by provider and kind of client.
PROMISED: Mapping[str, Mapping[str, float]] = {
    "Service": {ONE_SHOT: 1.0, KEEP_ALIVE: 5.0},
    "GatewayAPI": {ONE_SHOT: 1.0, KEEP_ALIVE: 1.0},
}
CALLED = {ONE_SHOT: "new connections", KEEP_ALIVE: "kept connections"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Requests in all, over so many repeats, and clients at once."""

    requests: int
    repeats: int
    clients: int

    @property
    def requests_each(self) -> int:
        return math.ceil(self.requests / self.repeats)


@dataclass(frozen=True)
class Course:
    """A release at rest behind one provider, and its users."""

    release: Release
    provider: str
    options: Options

    @property
    def host(self) -> str:
        return f"{self.release.namespace}.example.org"

    def spec(self, version: str, attempt: str) -> Json:
        spec = release_spec(version, ShedappOptions(soak=SOAK, drain_seconds=DRAIN_SECONDS, told=True))
        routes = [{"name": NAME}] if self.provider == "GatewayAPI" else []
        return changed(
            spec,
            components__0__template__metadata__labels__try=attempt,
            traffic__provider=self.provider,
            traffic__routes=routes,
            traffic__ramp=RAMP,
        )

    def install(self) -> None:
        spec = changed(self.spec(OLD_VERSION, "first"), traffic__provider="Service", traffic__routes=[])
        self.release.apply(spec)
        self.release.wait_settled(OLD_VERSION, deadline_seconds=PATIENCE_SECONDS)
        if self.provider == "GatewayAPI":
            kube, place = self.release.kube, self.release.namespace
            kube.apply(gateway.http_route(place, NAME, host=self.host))
            gateway.wait_accepted(kube, place, NAME)

    @property
    def one_shot_clients(self) -> int:
        return max(1, round(self.options.clients * ONE_SHOT_SHARE))

    @property
    def keep_alive_rate(self) -> float:
        """Requests a second of the clients that keep their connection."""
        return (self.options.clients - self.one_shot_clients) / PACE_SECONDS[self.provider]

    @property
    def rate(self) -> float:
        """Requests a second of all clients."""
        return self.keep_alive_rate + ONE_SHOT_RATE

    def users(self) -> LoadPlan:
        routed = self.provider == "GatewayAPI"
        inside = f"http://{NAME}.{self.release.namespace}.svc.cluster.local/version"
        return LoadPlan(
            url=gateway.url("/version") if routed else inside,
            host=self.host if routed else "",
            version_json="version",
            keep_alive_clients=self.options.clients - self.one_shot_clients,
            one_shot_clients=self.one_shot_clients,
            rate=self.rate,
            keep_alive_rate=self.keep_alive_rate,
            jitter=JITTER,
        )

    def repeat(self, number: int) -> Json:
        """One upgrade until every client is moved, and back by command."""
        release, steady = self.release, round(self.rate * STEADY_SECONDS)
        with LoadRun(release.kube, self.users(), name="traffic-users") as users:
            users.wait_requests(steady, deadline_seconds=120)
            release.apply(self.spec(NEW_VERSION, f"{number}-{time.time():.0f}"))
            release.wait_phase("Ramping", deadline_seconds=PATIENCE_SECONDS)
            release.wait_phase("Soaking", deadline_seconds=PATIENCE_SECONDS)
            release.wait_shed(deadline_seconds=PATIENCE_SECONDS)
            moved = users.wait_version(NEW_VERSION, deadline_seconds=60, only=True)
            users.wait_requests(moved.requests + steady, deadline_seconds=120)
            release.command("rollback")
            upgrade = release.wait_upgrade(
                NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
            )
            back = users.wait_version(OLD_VERSION, deadline_seconds=60, only=True)
            wanted = max(self.options.requests_each, back.requests + steady)
            users.wait_requests(wanted, deadline_seconds=wanted / self.rate + 300)
            summary = users.stop()
        return told(upgrade, summary)


def told(upgrade: Upgrade, load: LoadSummary) -> Json:
    """What one repeat leaves; seconds count from the decision to go back."""
    return {
        "requests": load.requests,
        "failures": load.failures,
        "failuresByKind": load.failures_by_kind,
        "failureSamples": list(load.failure_samples),
        "faults": load.faults(),
        "longestGapMs": load.longest_gap_ms,
        "switchedBackSeconds": seconds_between(upgrade.decided_at, upgrade.switched_back_at),
        "lastAnswerSeconds": {
            client: seconds_between(upgrade.decided_at, load.last_answer(NEW_VERSION, client))
            for client in CALLED
        },
    }


def p99(values: Sequence[float]) -> float:
    """By nearest rank: of fewer than a hundred values the greatest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def table(found: Mapping[str, Sequence[Json]]) -> list[str]:
    head = ["provider", "repeats", "requests", "failed"]
    rows = [[*head, *(f"{called}: {share}" for called in CALLED.values() for share in ("median", "p99"))]]
    for provider, repeats in found.items():
        cells = [
            provider,
            str(len(repeats)),
            f"{sum(one['requests'] for one in repeats):,}",
            str(sum(one["failures"] for one in repeats)),
        ]
        for client in CALLED:
            took = last_answers(repeats, client)
            cells += [seconds(statistics.median(took)), seconds(p99(took))] if took else ["-", "-"]
        rows.append(cells)
    return columns(rows)


def last_answers(repeats: Sequence[Json], client: str) -> list[float]:
    return [took for one in repeats if (took := one["lastAnswerSeconds"][client]) is not None]


def broken(found: Mapping[str, Sequence[Json]], options: Options) -> Iterator[str]:
    """What was not as promised, in words."""
    for provider, repeats in found.items():
        for number, one in enumerate(repeats, start=1):
            yield from (f"{provider}, repeat {number}: {fault}" for fault in one["faults"])
        requests = sum(one["requests"] for one in repeats)
        if requests < options.requests:
            yield f"{provider}: {requests:,} requests so far, {options.requests:,} are wanted"
        for client, limit in PROMISED[provider].items():
            took = last_answers(repeats, client)
            if (without := len(repeats) - len(took)) > 0:
                yield (
                    f"{provider}: {without} of {len(repeats)} repeats without {CALLED[client]} on the losing "
                    "version"
                )
            if took and p99(took) > limit:
                yield f"{provider}, {CALLED[client]}: p99 {p99(took):.2f} s, promised {limit:.0f} s"


@contextmanager
def course(kube: Kube, provider: str, options: Options) -> Iterator[Course]:
    """A release of its own, behind a Gateway of its own where it needs one."""
    with namespace(kube, "bench") as name:
        made = Course(Release(kube, name, NAME), provider, options)
        if provider == "Service":
            operator_install.install(kube)
            made.install()
            yield made
            return
        with gateway.running(kube):
            operator_install.install(kube, values=("gatewayAPI.enabled=true",))
            try:
                made.install()
                yield made
            finally:
                operator_install.install(kube)


def measure(kube: Kube, providers: Sequence[str], options: Options, done: Checkpoint) -> None:
    """Every repeat that is not done yet, the providers one after the other."""
    for provider in providers:
        missing = [
            number for number in range(1, options.repeats + 1) if f"{provider}/{number}" not in done.parts
        ]
        if not missing:
            continue
        with course(kube, provider, options) as made:
            for number in missing:
                one = done.part(f"{provider}/{number}", partial(made.repeat, number))
                took = ", ".join(
                    f"{CALLED[client]} {seconds(one['lastAnswerSeconds'][client])}" for client in CALLED
                )
                print(
                    f"{time.strftime('%H:%M:%S')} {provider} {number} of {options.repeats}: "
                    f"{one['requests']:,} requests, {one['failures']} failed; after the decision to go back: {took}",
                    flush=True,
                )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--provider", action="append", choices=sorted(PROMISED), help="only this one (may be repeated)"
    )
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each provider, over all repeats")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="connected at once")
    parser.add_argument("--fresh", action="store_true", help="forget the repeats that are done")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    given = parse(argv)
    options = Options(given.requests, given.repeats, given.clients)
    with connect() as kube:
        about = {"code": key_of(CODE, suffixes=(".py", ".go")), "options": asdict(options)}
        if given.fresh:
            CHECKPOINT.unlink(missing_ok=True)
        done = Checkpoint(CHECKPOINT, about)
        around = done.part("circumstances", circumstances)
        measure(kube, given.provider or sorted(PROMISED, reverse=True), options, done)
    found = {
        provider: [one for name, one in done.parts.items() if name.startswith(f"{provider}/")]
        for provider in PROMISED
    }
    found = {provider: repeats for provider, repeats in found.items() if repeats}
    faults = list(broken(found, options))
    document = {
        "benchmark": "traffic",
        **around,
        "options": asdict(options),
        "repeats": found,
        "broken": faults,
    }
    (RESULTS / "traffic.json").write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(["", *table(found), ""]))
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    if set(found) == set(PROMISED) and all(len(repeats) == options.repeats for repeats in found.values()):
        done.finished()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
