"""Many releases, and as many Rollouts of the same shape: one pod behind one Service each, on fake nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.kube import Kube, Object
from harness.waiting import poll

#: A read lists what is in a release's namespace; an API server with an etcd before 3.4.31 does not answer lists from
#: its cache, so that a namespace with many releases makes each read dear.
NAMESPACES = 100
NODES = 5
PODS_PER_NODE = 1000
NODE_LABEL = {"type": "kwok"}
NODE_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
#: What is to run in earnest stays away from them.
NODE_TAINT = {"key": "type", "value": "kwok", "effect": "NoSchedule"}
FIRST, SECOND = "1.0.0", "1.1.0"
#: An upgrade at the short pace is judged over so long, and soaked as long.
WINDOW = "30s"
#: About 80 requests of ours for a verdict, 2.5 a second through the soak: a hundred at once share these two cores with
#: everything that answers them.
_UPGRADE_RATES = {"errorRate": 0.05, "missRate": 0.05}
#: What is installed is not measured: one request will do.
_INSTALL_RATES = {"errorRate": 0.5, "missRate": 0.5, "window": "10s"}
PROMETHEUS_URL = "http://prometheus.scale-metrics.svc:9090"
_HANDS = 8
#: So many are made at once: with many hundreds under way their samples alone fill the core that decides.
AT_ONCE = 100


class Pace(Enum):
    """How long an upgrade is judged and soaked."""

    #: As the product has it where nobody says anything: over a minute, and ten of them.
    DEFAULT = "default"
    SHORT = "short"


#: From a number, a version and a pace to the objects.
Make = Callable[[int, str, Pace], list[Object]]


def nodes() -> list[Object]:
    """Nodes whose pods kwok plays."""
    capacity = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_PER_NODE)}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"kwok-{number}",
                "labels": {**NODE_LABEL, "kubernetes.io/hostname": f"kwok-{number}"},
                "annotations": NODE_ANNOTATION,
            },
            "spec": {"taints": [NODE_TAINT]},
            "status": {"capacity": capacity, "allocatable": capacity},
        }
        for number in range(NODES)
    ]


def namespaces(prefix: str) -> list[Object]:
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{prefix}-{number}"}}
        for number in range(NAMESPACES)
    ]


def pod_template(version: str, labels: dict[str, str]) -> dict[str, Any]:
    """An ordinary pod template, no smaller than users' are."""
    container = {
        "name": "web",
        "image": f"localhost/nothing:{version}",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": f"SETTING_{number}", "value": f"value-{number}"} for number in range(10)],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "metadata": {"labels": labels},
        "spec": {
            "nodeSelector": NODE_LABEL,
            "tolerations": [{**NODE_TAINT, "operator": "Equal"}],
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }


def release(number: int, version: str, pace: Pace = Pace.SHORT, *, installed: bool = False) -> Object:
    """A release whose health is judged by a real Prometheus on synthetic series.

    `installed`: for the first time; an upgrade is judged in earnest.
    """
    name = f"r{number}"
    short = pace is Pace.SHORT
    rates = _INSTALL_RATES if installed else {**_UPGRADE_RATES, **({"window": WINDOW} if short else {})}
    return {
        "apiVersion": "maestro-conductor.io/v1alpha1",
        "kind": "ControlPlaneRelease",
        "metadata": {"name": name, "namespace": f"scale-{number % NAMESPACES}"},
        "spec": {
            "version": version,
            "strategy": "BlueGreen",
            "components": [
                {
                    "name": "web",
                    "replicas": 1,
                    "services": [
                        {"name": name, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
                    ],
                    "template": pod_template(version, {"app": name}),
                }
            ],
            "traffic": {
                "current": "blue",
                "provider": "Service",
                "switchHealth": {"p95LatencyMs": 900, "noData": "Wait", **rates},
            },
            "verification": {
                "http": [{"component": "web", "service": name, "port": "http", "path": "/version"}]
            },
            "preStopHook": {"enabled": False},
            **({"soak": WINDOW} if short else {}),
            "deadlines": {"bringUp": "20m", "verify": "20m", "rollback": "2m"},
            "metrics": {"prometheus": {"url": PROMETHEUS_URL, "preset": "http"}},
        },
    }


def rollout(number: int, version: str, _: Pace) -> list[Object]:
    """A blue/green Rollout and its Service."""
    name, namespace = f"r{number}", f"argo-{number % NAMESPACES}"
    labels = {"app": name}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "strategy": {"blueGreen": {"activeService": name, "autoPromotionEnabled": True}},
                "template": pod_template(version, labels),
            },
        },
    ]


@dataclass
class Fleet:
    """Objects of one sort, made in the order of their numbers."""

    kube: Kube
    kind: str
    api_version: str
    install: Make
    make: Make
    settled: Callable[[Object, str], bool]
    #: The version that an object asks for.
    asked: Callable[[Object], str]
    versions: dict[int, str] = field(default_factory=dict)

    def adopt(self) -> None:
        """Know those that a former run made, as they were asked for then."""
        self.versions = {int(item["metadata"]["name"][1:]): self.asked(item) for item in self.objects()}

    def grow(self, size: int, *, deadline_seconds: float) -> int:
        """Make more of them, and wait until all have settled; how many were made."""
        missing = [number for number in range(size) if number not in self.versions]
        # What is adopted may be under way still.
        self.wait(deadline_seconds=deadline_seconds)
        for first in range(0, len(missing), AT_ONCE):
            self._each(missing[first : first + AT_ONCE], self.install, FIRST)
            self.wait(deadline_seconds=deadline_seconds)
        return len(missing)

    def ask(
        self, numbers: Iterable[int], version: str, *, over_seconds: float = 0.0, pace: Pace = Pace.SHORT
    ) -> None:
        """Ask for a version of each: as fast as a few hands can, or one after the other over so many seconds."""
        chosen = list(numbers)
        if not over_seconds:
            self._each(chosen, self.make, version, pace)
            return
        began = time.monotonic()
        for index, number in enumerate(chosen):
            time.sleep(max(0.0, began + over_seconds * index / len(chosen) - time.monotonic()))
            self._each([number], self.make, version, pace)

    def _each(self, chosen: list[int], make: Make, version: str, pace: Pace = Pace.SHORT) -> None:
        with ThreadPoolExecutor(_HANDS) as hands:
            list(hands.map(lambda number: self.kube.apply_all(make(number, version, pace)), chosen))
        self.versions |= dict.fromkeys(chosen, version)

    def wait(self, *, deadline_seconds: float) -> None:
        """Until every one has settled on the version that it was asked for."""

        def all_settled() -> bool | None:
            return True if not self.unsettled() else None

        poll(
            all_settled,
            what=f"all {len(self.versions)} {self.kind}s settled",
            deadline_seconds=deadline_seconds,
            # A look lists them all, which the API server feels.
            every_seconds=2.0 + len(self.versions) / 200,
            last_seen=lambda: self.unsettled()[:20],
        )

    def unsettled(self) -> list[str]:
        """Names of those that are not there yet."""
        found = {int(item["metadata"]["name"][1:]): item for item in self.objects()}
        return [
            f"r{number}"
            for number, version in self.versions.items()
            if number not in found or not self.settled(found[number], version)
        ]

    def upgrading(self) -> int:
        """How many releases are in an upgrade now."""
        return sum("upgrade" in (item.get("status") or {}) for item in self.objects())

    def objects(self) -> list[Object]:
        """All of them as they are, page by page."""
        path = f"/apis/{self.api_version}/{self.kind.lower()}s"
        items: list[Object] = []
        following = ""
        while True:
            answer = self.kube.request("GET", path, query={"limit": "200", "continue": following})
            items += answer["items"]
            following = answer["metadata"].get("continue") or ""
            if not following:
                return items

    def resource_versions(self) -> dict[str, str]:
        """By UID: what does not change was not written."""
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in self.objects()}


def releases(kube: Kube) -> Fleet:
    return Fleet(
        kube,
        "ControlPlaneRelease",
        "maestro-conductor.io/v1alpha1",
        lambda number, version, pace: [release(number, version, pace, installed=True)],
        lambda number, version, pace: [release(number, version, pace)],
        _release_settled,
        lambda item: str(item["spec"]["version"]),
    )


def rollouts(kube: Kube) -> Fleet:
    return Fleet(
        kube, "Rollout", "argoproj.io/v1alpha1", rollout, rollout, _rollout_settled, _rollout_version
    )


def _release_settled(item: Object, version: str) -> bool:
    status = item.get("status") or {}
    return (
        status.get("phase") == "Stable"
        and status.get("activeVersion") == version
        and status.get("observedGeneration") == item["metadata"]["generation"]
    )


def _rollout_settled(item: Object, version: str) -> bool:
    status = item.get("status") or {}
    return (
        status.get("phase") == "Healthy"
        and status.get("observedGeneration") == str(item["metadata"]["generation"])
        and _rollout_version(item) == version
    )


def _rollout_version(item: Object) -> str:
    return str(item["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]
