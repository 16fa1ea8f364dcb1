"""Foreign hands in mid-upgrade: `helm upgrade` and a forced apply of the same manifests, once in every phase."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from harness.mc_install import Mc
from harness.releases import Release

#: Every phase in which green has traffic.
GREEN_PHASES = {"Switching", "Soaking", "Closing", "Contracting", "Stable"}
PIPELINE = "some-pipeline"


class ForeignHands:
    """Once in every phase, as soon as green is selected: a forced apply at once, and a `helm upgrade` beside it."""

    def __init__(self, plane: Mc, version: str, green: str, executor: ThreadPoolExecutor) -> None:
        self._plane = plane
        self._version = version
        self._green = green
        self._manifests = plane.rendered(version)
        self._executor = executor
        self._upgrades: dict[str, Future[None]] = {}
        self.applied_in: set[str] = set()
        self.selected: set[str] = set()

    def meet(self, _at: datetime, status: dict[str, Any]) -> None:
        phase = status.get("phase", "")
        if phase not in GREEN_PHASES or phase in self.applied_in or selected(self._plane) != self._green:
            return
        self._upgrades[phase] = self._executor.submit(self._plane.ask_for, self._version)
        self._plane.kube.apply_all(self._manifests, namespace=self._plane.namespace, manager=PIPELINE)
        self.selected.add(selected(self._plane))
        self.applied_in.add(phase)

    def finish(self) -> set[str]:
        """The phases in which a `helm upgrade` began; raises what one of them raised. Nothing is owned afterwards."""
        for upgrade in self._upgrades.values():
            upgrade.result(timeout=60)
        self.selected.add(selected(self._plane))
        self._give_up()
        return set(self._upgrades)

    def _give_up(self) -> None:
        """Own no field any more: another version, asked for by helm, would meet a conflict."""
        for manifest in self._manifests:
            name = {"name": manifest["metadata"]["name"]}
            nothing = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": name}
            self._plane.kube.apply_all([nothing], namespace=self._plane.namespace, manager=PIPELINE)


def selected(plane: Mc) -> str:
    """The revision that users are sent to."""
    service = plane.kube.need("Service", "mc-api", plane.namespace)
    return str(service["spec"]["selector"]["maestro-conductor.io/revision"])


def identity(release: Release) -> tuple[int, int]:
    item = release.read()
    return item["metadata"]["generation"], item["status"]["sequence"]
