"""One upgrade and its way back under clients that hold their connections, and what each of them lived through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.load_run import LoadRun
from harness.load_summary import ClientReport, LoadSummary
from harness.pod_record import PodRecord
from harness.releases import Release, Upgrade
from harness.shedapp import NEW_VERSION, OLD_VERSION, ShedappOptions, load_plan, release_spec

#: An upgrade that stands still for so long has failed.
PATIENCE_SECONDS = 180.0
#: Steady traffic before, between and after, so that every client has its turns on each version.
TURNS_BEFORE, TURNS_BETWEEN, TURNS_AFTER = 10, 20, 10


@dataclass(frozen=True)
class Capacity:
    """The fewest ready pods while clients were moved, of the version that got them and of the one that lost them."""

    serving: int
    standby: int | None
    replicas: int
    started: int


@dataclass(frozen=True)
class Turn:
    """Clients were moved off `losing`: from this decision on, and until somebody decided otherwise."""

    losing: str
    began: datetime
    ended: datetime
    capacity: Capacity

    def left_after(self, client: ClientReport) -> float | None:
        """Seconds from the decision to the client's last answer of the losing version; None: it never had one."""
        heard = [
            span.last for span in client.spans if span.version == self.losing and span.first < self.ended
        ]
        return max(0.0, (max(heard) - self.began).total_seconds()) if heard else None

    def longest_gap(self, client: ClientReport) -> float:
        """Seconds; what the client itself waits between its requests is part of it."""
        return client.longest_gap_seconds(self.began, self.ended)


@dataclass(frozen=True)
class Shedding:
    """Forward by the waves of the soak, back by the drain of the losing colour."""

    forward: Turn
    back: Turn
    upgrade: Upgrade
    load: LoadSummary

    def clients(self, kind: str) -> Iterator[ClientReport]:
        return (client for client in self.load.clients if client.kind == kind)

    def not_moved(self) -> list[str]:
        """Clients that were not moved once forward and once back, in words."""
        wanted = [OLD_VERSION, NEW_VERSION, OLD_VERSION]
        return [
            f"{client.kind} client {client.number}: {' > '.join(client.versions())}"
            for client in self.load.clients
            if client.versions() != wanted
        ]


def shed_and_return(
    release: Release, options: ShedappOptions, *, clients: int, pace_seconds: float
) -> Shedding:
    """From OLD_VERSION at rest to the end of shedding, and by command back; `options.soak` has to outlast that."""
    kube, namespace = release.kube, release.namespace
    before = release.status()["activeRevision"]
    plan = load_plan(namespace, clients=clients, pace_seconds=pace_seconds)
    turn = clients * len(plan.held) + clients
    with PodRecord(kube, namespace) as pods, LoadRun(kube, plan, name="shedding") as run:
        run.wait_requests(TURNS_BEFORE * turn, deadline_seconds=120)
        release.apply(release_spec(NEW_VERSION, options))
        after = release.wait_shed(deadline_seconds=PATIENCE_SECONDS)["status"]["upgrade"]["toRevision"]
        shed_at = datetime.now(UTC)
        met = run.wait_version(NEW_VERSION, deadline_seconds=60, only=True)
        run.wait_requests(met.requests + TURNS_BETWEEN * turn, deadline_seconds=60)
        release.command("rollback")
        upgrade = release.wait_upgrade(
            NEW_VERSION, outcomes=("RolledBack",), deadline_seconds=PATIENCE_SECONDS
        )
        met = run.wait_version(OLD_VERSION, deadline_seconds=60, only=True)
        run.wait_requests(met.requests + TURNS_AFTER * turn, deadline_seconds=60)
        load = run.stop()
    switched, decided = upgrade.switched_at, upgrade.decided_at
    assert switched is not None
    assert decided is not None
    replicas = options.replicas
    forward = Capacity(
        serving=pods.fewest_ready(after, switched, shed_at),
        standby=pods.fewest_ready(before, switched, shed_at),
        replicas=replicas,
        started=pods.started(switched.replace(microsecond=0), decided)[before],
    )
    back = Capacity(
        serving=pods.fewest_ready(before, decided, upgrade.ended_at),
        standby=None,
        replicas=replicas,
        started=pods.started(decided.replace(microsecond=0), upgrade.ended_at).total(),
    )
    return Shedding(
        Turn(OLD_VERSION, switched, decided, forward),
        Turn(NEW_VERSION, decided, load.ended_at, back),
        upgrade,
        load,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of them do not exceed. Raises ValueError where there is none."""
    if not values:
        raise ValueError("values: none given")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
