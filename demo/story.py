"""The demo from its first step to its last: sets up, plays the three upgrades under load, and counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from cluster import images
from cluster.interface import Cluster
from demo import ownership, plane
from demo.board import Board, Step, step
from demo.options import RELEASE, Options
from demo.parts import run_cluster
from demo.plan import Planned
from demo.promises import BAD, FIRST, GOOD, SLOW, Evidence
from demo.upgrades import Asked, follow
from harness import operator_install
from harness.kube import Kube, connect
from harness.load_run import LoadRun
from harness.releases import Release, Upgrade

OWN_IMAGES = ("conductor", "migrator", "load", "postgres", "mc", "mc-migrations")
#: So that an operator whose image is new under the same tag is started anew.
IMAGE_ANNOTATION = r"podAnnotations.maestro-conductor\.io/image"
INSTALL_SECONDS = 180.0
ACTS = {
    "good": Asked(GOOD, "Succeeded"),
    "bad": Asked(BAD, "Refused"),
    "slow": Asked(SLOW, "RolledBack"),
}


@dataclass
class Story:
    """One run. `took` fills up as the steps end."""

    options: Options
    board: Board
    cluster: Cluster
    steps: dict[str, Planned]
    took: dict[str, float] = field(default_factory=dict)

    def play(self) -> Evidence:
        before = self._namespaces_before()
        self._start_cluster()
        with ExitStack() as ending:
            kube = ending.enter_context(connect())
            self._install_operator(kube)
            if before is not None:
                ownership.mark_new(kube, before)
            release = self._install_plane(kube)
            self._fill(kube)
            with self._step("users") as now:
                now.now("starting")
                load = ending.enter_context(LoadRun(kube, plane.users(self.options), name=self.options.users))
                now.outcome = f"{self.options.rate:g} requests/s"
            ended = self._upgrades(release, load)
            with self._step("count") as now:
                now.now("the last answers, then PostgreSQL")
                summary = load.stop()
                now.now("removing the users")
                load.remove()
                now.outcome = f"{summary.writes.acknowledged:,} ids"
            serving = str(release.status().get("activeVersion"))
        return Evidence(ended.get(GOOD), ended.get(BAD), ended.get(SLOW), summary, serving)

    def _upgrades(self, release: Release, load: LoadRun) -> dict[str, Upgrade]:
        """The three upgrades; none follows one that ended in another way than it was meant to."""
        ended: dict[str, Upgrade] = {}
        for key, asked in ACTS.items():
            with self._step(key) as now:
                ended[asked.version] = upgrade = follow(
                    self.board, now, release, asked,
                    begin=partial(plane.install, self.options, asked.version), users=load.latest,
                )  # fmt: skip
            if upgrade.outcome != asked.outcome:
                break
        return ended

    def _namespaces_before(self) -> set[str] | None:
        """What there was, in a cluster that is not ours; nothing where the whole cluster is the demo's."""
        if self.cluster.way != "existing":
            return None
        os.environ.update(self.cluster.environment())
        with connect() as kube:
            return ownership.namespaces(kube)

    @contextmanager
    def _step(self, key: str) -> Iterator[Step]:
        planned = self.steps[key]
        later = [other for other in self.steps.values() if other.number > planned.number]
        with step(self.board, planned, later) as now:
            yield now
        self.took[key] = now.seconds

    def _start_cluster(self) -> None:
        with self._step("cluster") as now:
            run_cluster(now, ["up"], instance=self.options.instance)
            os.environ.update(self.cluster.environment())
            now.outcome = f"{self.cluster.way} way"
        with self._step("images") as now:
            wanted = OWN_IMAGES[1:] if self.options.keep_operator else OWN_IMAGES
            run_cluster(now, ["images", *wanted], instance=self.options.instance)
            now.outcome = f"{len(images.expand(wanted))} images"

    def _install_operator(self, kube: Kube) -> None:
        with self._step("operator") as now:
            if self.options.keep_operator:
                now.outcome = f"kept: {operator_install.deployment(kube)}"
                return
            now.now("helm upgrade --install conductor")
            digest = images.build("conductor:dev").manifest
            operator_install.install(kube, values=[f"{IMAGE_ANNOTATION}={digest}"])
            now.outcome = f"namespace {operator_install.NAMESPACE}"

    def _install_plane(self, kube: Kube) -> Release:
        with self._step("plane") as now:
            now.now("PostgreSQL")
            plane.start_database(kube, self.options.namespace)
            now.now("helm upgrade --install mc")
            plane.install(self.options, FIRST)
            now.now("schema, pods, Service")
            release = Release(kube, self.options.namespace, RELEASE)
            release.wait_settled(FIRST, deadline_seconds=INSTALL_SECONDS)
            now.outcome = f"namespace {self.options.namespace}"
        return release

    def _fill(self, kube: Kube) -> None:
        with self._step("rows") as now:
            first = 1
            while first <= self.options.rows:
                if self.board.live:
                    now.now(f"{first - 1:,} of {self.options.rows:,}")
                first = plane.fill(kube, self.options, first)
            now.outcome = f"{plane.count_rows(kube, self.options.namespace):,} rows"
