"""Transactions through two components: which versions one may meet, at every instant and with every lag of proxies.

A pod of the edge calls by the URL in its environment, resolved as kubelet would. Each Service is seen as it is now
or as it was a moment ago, and each at a moment of its own: node proxies follow one Service after the other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.unit.domain.machinery import Machinery, going, is_ready, revision_of
from tests.unit.domain.surroundings import Clock
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.status import Phase

#: As long as a proxy may still send new connections where a Service led before.
LAG = timedelta(seconds=2)
_CALLED = re.compile(r"//([a-z0-9-]+)")


@dataclass(frozen=True)
class Pair:
    """A pod that users reach and a pod that it may call, of two versions; or of no second one."""

    edge: str
    called: str
    behind: str


class Transactions:
    """Watches what callers would meet. Nothing is looked at until an edge is named."""

    def __init__(
        self, kube: MemoryKube, machinery: Machinery, clock: Clock, namespace: str, release: str
    ) -> None:
        self._kube = kube
        self._machinery = machinery
        self._clock = clock
        self._namespace = namespace
        self._release = release
        self.edge = ""
        #: Of users: revisions at the edge and behind it that differ, and calls that nobody would answer.
        self.mixed: set[Pair] = set()
        self.lost: set[Pair] = set()
        self._views: dict[str, list[tuple[datetime, frozenset[str]]]] = {}
        #: Pods that users were led to once, and may hold connections to.
        self._met: set[str] = set()
        self._looked_at = ("", -1)

    def look(self) -> None:
        """This instant, after one write or none."""
        moved_at = self._kube.moved_at("Service", "Pod", "HTTPRoute")
        if not self.edge or (self.edge, moved_at) == self._looked_at:
            return
        self._looked_at = (self.edge, moved_at)
        self._see()
        for pod in self._callers():
            own = revision_of(pod)
            for service in calls(pod):
                views = self._views.get(service, [])
                behind = frozenset[str]().union(*(view for _, view in views))
                self.mixed |= {Pair(own, service, other) for other in behind - {own}}
                if not views or not views[-1][1]:
                    self.lost.add(Pair(own, service, ""))

    def _see(self) -> None:
        now = self._clock.now
        for service in self._kube.list("Service", self._namespace):
            name, selected = service["metadata"]["name"], self._machinery.selected(service)
            seen, view = self._views.setdefault(name, []), frozenset(map(revision_of, selected))
            if not seen or seen[-1][1] != view:
                seen.append((now, view))
            # What was there when the window began is still seen in it.
            while len(seen) > 1 and seen[1][0] <= now - LAG:
                seen.pop(0)
            if name in self._edges():
                self._met |= {pod["metadata"]["name"] for pod in selected}

    def _edges(self) -> set[str]:
        led = {
            backend["name"]
            for route in self._kube.list("HTTPRoute", self._namespace)
            for rule in route["spec"]["rules"]
            for backend in rule["backendRefs"]
            if backend.get("weight", 1)
        }
        return led or {self.edge}

    def _callers(self) -> Iterator[Object]:
        """Pods that may hold users, those on their way out among them while users are being taken back."""
        release = self._kube.get(names.KIND, self._namespace, self._release)
        back = release is not None and (release.get("status") or {}).get("phase") == Phase.ROLLING_BACK
        for pod in self._kube.list("Pod", self._namespace):
            if pod["metadata"]["name"] in self._met and is_ready(pod) and (back or not going(pod)):
                yield pod


def calls(pod: Object) -> list[str]:
    """Services that a pod's containers are told to call."""
    found: list[str] = []
    labels = pod["metadata"]["labels"]
    for container in pod["spec"]["containers"]:
        known: dict[str, str] = {}
        for variable in container.get("env", []):
            path = (variable.get("valueFrom") or {}).get("fieldRef", {}).get("fieldPath", "")
            label = re.fullmatch(r"metadata\.labels\['(.*)'\]", path)
            value = str(labels.get(label.group(1), "")) if label else str(variable.get("value", ""))
            for name, given in known.items():
                value = value.replace(f"$({name})", given)
            known[variable["name"]] = value
        found += [met.group(1) for value in known.values() if (met := _CALLED.search(value)) is not None]
    return found
