"""Foreign hands in mid-upgrade: `helm upgrade` and forced apply of the same manifests change no traffic."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from harness.kube import Kube
from harness.load_run import LoadRun
from harness.mc_install import Mc
from harness.releases import PhaseRecorder, Release

FIRST, SECOND = "1.0.0", "1.1.0"
VALUES = {
    "api.replicas": 2,
    "api.resources.requests.cpu": "100m",
    "soak": "5s",
    "traffic.switchHealth.window": "20s",
    "traffic.switchHealth.missRate": 0.05,
    # A busy machine is slow; that is not what is tested here.
    "traffic.switchHealth.p95LatencyMs": 5000,
}
HISTORY_ROWS = 2000
RATE = 150
#: Every phase in which green has traffic.
GREEN_PHASES = {"Switching", "Soaking", "Closing", "Contracting", "Stable"}
PATIENCE_SECONDS = 110.0
PIPELINE = "some-pipeline"

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]


class ForeignHands:
    """Once in every phase, as soon as green is selected: a forced apply at once, and a `helm upgrade` beside it."""

    def __init__(self, plane: Mc, green: str, executor: ThreadPoolExecutor) -> None:
        self._plane = plane
        self._green = green
        self._manifests = plane.rendered(SECOND)
        self._executor = executor
        self._upgrades: dict[str, Future[None]] = {}
        self.applied_in: set[str] = set()
        self.selected: set[str] = set()

    def meet(self, _at: datetime, status: dict[str, Any]) -> None:
        phase = status.get("phase", "")
        if phase not in GREEN_PHASES or phase in self.applied_in or selected(self._plane) != self._green:
            return
        self._upgrades[phase] = self._executor.submit(self._plane.ask_for, SECOND)
        self._plane.kube.apply_all(self._manifests, namespace=self._plane.namespace, manager=PIPELINE)
        self.selected.add(selected(self._plane))
        self.applied_in.add(phase)

    def finish(self) -> set[str]:
        """The phases in which a `helm upgrade` began; raises what one of them raised."""
        for upgrade in self._upgrades.values():
            upgrade.result(timeout=60)
        self.selected.add(selected(self._plane))
        return set(self._upgrades)


def selected(plane: Mc) -> str:
    """The revision that users are sent to."""
    service = plane.kube.need("Service", "mc-api", plane.namespace)
    return str(service["spec"]["selector"]["maestro-conductor.io/revision"])


def identity(release: Release) -> tuple[int, int]:
    item = release.read()
    return item["metadata"]["generation"], item["status"]["sequence"]


def test_manifests_applied_again_in_any_phase_change_no_traffic(kube: Kube, test_namespace: str) -> None:
    plane = Mc(kube, test_namespace, values=VALUES, history_rows=HISTORY_ROWS)
    plane.install()
    release = plane.release
    users = LoadRun(kube, plane.load(rate=RATE), name="mc-users")
    with users, ThreadPoolExecutor(4) as executor:
        plane.ask_for(SECOND)
        release.wait_phase("Verifying", deadline_seconds=PATIENCE_SECONDS)
        before = identity(release)
        green = release.status()["candidateRevision"]
        hands = ForeignHands(plane, green, executor)
        with PhaseRecorder(release, hands.meet):
            release.wait_upgrade(SECOND, outcomes=("Succeeded",), deadline_seconds=PATIENCE_SECONDS)
            release.wait(
                lambda _: "Stable" in hands.applied_in, what="the apply in Stable", deadline_seconds=30
            )
        assert hands.finish() == GREEN_PHASES
        so_far = users.latest()
        assert so_far is not None
        users.wait_requests(so_far.requests + 5 * RATE, deadline_seconds=30)
        summary = users.stop()
    assert not summary.faults(), summary.line()
    assert hands.applied_in == GREEN_PHASES
    status = release.status()
    assert identity(release) == before, "a new generation or a new upgrade"
    assert status.get("upgrade") is None
    traffic = status["traffic"]
    assert (traffic["current"], traffic["green"], traffic["reversions"]) == ("green", 100, 0)
    assert hands.selected == {green}
    assert status["activeRevision"] == green
    published = kube.need("ConfigMap", "mc-traffic", test_namespace)
    assert published["data"] == {"current": "green"}
