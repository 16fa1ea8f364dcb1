"""Reads what quotas and nodes have room for, and what a candidate's pods ask for."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from conductor.adapters.kube import ApiError, Kube, Object
from conductor.adapters.quantities import quantity
from conductor.api import names
from conductor.api.spec import Component
from conductor.domain.room import PODS, Amount, Node, Quota, Room

#: Upgrades that begin within so many seconds are answered by one reading of all pods.
_FRESH_SECONDS = 5.0
_PAGE = 500
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class _Occupant:
    """A pod on a node."""

    namespace: str
    labels: Mapping[str, str]
    node: str
    priority: int
    priority_class: str
    requests: Mapping[str, Decimal]
    leaving: bool

    @property
    def part(self) -> tuple[str, ...]:
        """The release's component that it is a pod of; empty for a pod of nobody's release."""
        release, component = (
            self.labels.get(key, "") for key in (names.LABEL_RELEASE, names.LABEL_COMPONENT)
        )
        return (self.namespace, release, component) if release else ()

    @property
    def revision(self) -> str:
        return self.labels.get(names.LABEL_REVISION, "")


class RoomReader:
    """Thread-safe: what is read of the nodes serves every release for a few seconds."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._nodes: list[Object] | None = None
        self._pods: list[_Occupant] = []

    def read(self, namespace: str, components: Iterable[Component]) -> Room:
        """The room for pods of these components. Raises ApiError where the API server does not answer, and ValueError
        for a quantity that is none.

        Pods of a lower priority are no hindrance: the scheduler would take them off.
        """
        components = tuple(components)
        classes = {(item.template.get("spec") or {}).get("priorityClassName") or "" for item in components}
        # Where they differ nobody is taken to be pushed away: too careful rather than too bold.
        priority_class = classes.pop() if len(classes) == 1 else ""
        quotas = _unless_forbidden(lambda: self._kube.list("ResourceQuota", namespace))
        with self._lock:
            if self._clock() - self._read_at > _FRESH_SECONDS:
                self._nodes = _unless_forbidden(self._take_stock)
                self._read_at = self._clock()
            nodes, pods = self._nodes, self._pods
        return Room(
            quotas=None if quotas is None else tuple(_quotas(quotas)),
            nodes=None if nodes is None else nodes_with_room(nodes, pods, namespace, priority_class),
            asks={item.name: asked(item.template.get("spec") or {}) for item in components},
        )

    def _take_stock(self) -> list[Object]:
        nodes = self._kube.list("Node", None)
        self._pods = [
            found
            for page in self._kube.pages("Pod", None, size=_PAGE)
            for item in page.items
            if (found := occupant(item)) is not None
        ]
        return nodes


def _unless_forbidden(read: Callable[[], list[Object]]) -> list[Object] | None:
    """What was read; None where this operator was not given the right, as in a namespaced installation."""
    try:
        return read()
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return None


def _quotas(objects: Iterable[Object]) -> Iterable[Quota]:
    for item in objects:
        spec, status = item.get("spec") or {}, item.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            # Which pods it counts depends on more than the template; the API server has the last word.
            continue
        hard = status.get("hard") or spec.get("hard") or {}
        yield Quota(item["metadata"]["name"], _amounts(hard), _amounts(status.get("used") or {}))


def _amounts(quantities: Mapping[str, Any]) -> dict[str, Decimal]:
    return {key: quantity(value) for key, value in quantities.items()}


def nodes_with_room(
    nodes: Iterable[Object], pods: Iterable[_Occupant], namespace: str, priority_class: str
) -> tuple[Node, ...]:
    """Nodes that take pods now, each with what the pods on it leave."""
    pods = tuple(pods)
    by_node: dict[str, list[_Occupant]] = {}
    priority = 0
    for pod in pods:
        by_node.setdefault(pod.node, []).append(pod)
        if priority_class and pod.priority_class == priority_class:
            priority = pod.priority
    surges = _surges(pods)
    return tuple(
        _node(item, by_node.get(item["metadata"]["name"], []), namespace, priority, surges)
        for item in nodes
        if not (item.get("spec") or {}).get("unschedulable") and _ready(item)
    )


def _surges(pods: Iterable[_Occupant]) -> set[tuple[tuple[str, ...], str]]:
    """The components and revisions that stand beside another one for as long as an upgrade runs.

    Which of two colours goes is not known before the upgrade's end: the one with fewer pods is counted on.
    """
    found: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for pod in pods:
        if pod.part and not pod.leaving:
            found[pod.part][pod.revision] += 1
    return {
        (part, revision)
        for part, revisions in found.items()
        for revision in sorted(revisions, key=lambda item: (revisions[item], item))[:-1]
    }


def _ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _node(
    item: Object,
    pods: list[_Occupant],
    namespace: str,
    priority: int,
    surges: set[tuple[tuple[str, ...], str]],
) -> Node:
    free = _amounts((item.get("status") or {}).get("allocatable") or {})
    leaving: dict[str, Decimal] = {}
    for pod in pods:
        if pod.priority < priority:
            continue
        for key, amount in {**pod.requests, PODS: Decimal(1)}.items():
            free[key] = free.get(key, Decimal(0)) - amount
            if pod.leaving or (pod.part, pod.revision) in surges:
                leaving[key] = leaving.get(key, Decimal(0)) + amount
    return Node(
        name=item["metadata"]["name"],
        labels=item["metadata"].get("labels") or {},
        taints=tuple((item.get("spec") or {}).get("taints") or ()),
        free=free,
        leaving=leaving,
        neighbours=tuple(pod.labels for pod in pods if pod.namespace == namespace and not pod.leaving),
    )


def occupant(pod: Object) -> _Occupant | None:
    """A pod that holds room on a node; None for one that has ended or has none yet."""
    spec, metadata = pod["spec"], pod["metadata"]
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in _ENDED:
        return None
    return _Occupant(
        namespace=metadata["namespace"],
        labels=metadata.get("labels") or {},
        node=spec["nodeName"],
        priority=spec.get("priority") or 0,
        priority_class=spec.get("priorityClassName") or "",
        requests=asked(spec).requests,
        leaving="deletionTimestamp" in metadata,
    )


def asked(spec: Mapping[str, Any]) -> Amount:
    """What a pod asks for, as the scheduler counts it: containers and sidecars together, or the largest init step.

    What a LimitRange would add to a template is not known before there is a pod.
    """
    whole = spec.get("resources") or {}
    found = {
        kind: _sum([_effective(spec, kind), _amounts(spec.get("overhead") or {})])
        | _amounts(whole.get(kind) or {})
        for kind in ("requests", "limits")
    }
    return Amount(found["requests"], found["limits"])


def _effective(spec: Mapping[str, Any], kind: str) -> dict[str, Decimal]:
    sidecars: list[Mapping[str, Decimal]] = []
    highest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            sidecars.append(_of(container, kind))
            continue
        highest = _most(highest, _sum([*sidecars, _of(container, kind)]))
    running = _sum([*sidecars, *(_of(container, kind) for container in spec.get("containers") or [])])
    return _most(highest, running)


def _of(container: Mapping[str, Any], kind: str) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    limits = _amounts(resources.get("limits") or {})
    # The API server takes a limit for the request where only that is given.
    return limits | _amounts(resources.get("requests") or {}) if kind == "requests" else limits


def _sum(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for part in parts:
        for key, amount in part.items():
            total[key] = total.get(key, Decimal(0)) + amount
    return total


def _most(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {key: max(one.get(key, Decimal(0)), other.get(key, Decimal(0))) for key in {**one, **other}}
