"""Whether a candidate fits: what quotas leave, and where on the nodes its pods could run. Pure arithmetic.

The pods are placed in thought, the largest first, each on the node that it fills most (best fit decreasing). That
is not what the scheduler does, and need not be: what finds no place here would at best find one by luck.

Told apart are what is free now and what is free once the pods that are on their way out have gone, and the surges of
other upgrades with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Amounts = Mapping[str, Decimal]
PODS = "pods"
HOSTNAME = "kubernetes.io/hostname"
#: Nobody is kept off a node by these.
_HARMLESS = frozenset({"PreferNoSchedule"})
_SHOWN = 3


@dataclass(frozen=True)
class Quota:
    """A ResourceQuota without scopes: one that counts every pod of its namespace."""

    name: str
    hard: Amounts
    used: Amounts


@dataclass(frozen=True)
class Node:
    """A node that takes pods, and what nobody asked for yet; `leaving` is held by pods that are on their way out,
    and by those that stand for no longer than another upgrade runs.

    `neighbours`: labels of the pods there that are of the release's own namespace.
    """

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    free: Amounts
    leaving: Amounts = field(default_factory=dict)
    neighbours: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Amount:
    """What one pod asks for, and what it is limited to."""

    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """What a namespace and the nodes offer; None where it may not be read: then nothing is said about it.

    `asks`: what one pod of each of the candidate's components asks for.
    """

    quotas: tuple[Quota, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    asks: Mapping[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True)
class Need:
    """So many pods alike, what each asks for, and the template that says where it may run."""

    component: str
    pods: int
    amount: Amount
    template: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, str]:
        found: Mapping[str, str] = (self.template.get("metadata") or {}).get("labels") or {}
        return found

    @property
    def spec(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.template.get("spec") or {}
        return found


@dataclass(frozen=True)
class Lack:
    """What there is too little of; `passing`: there is enough once those have gone that hold it for a while only."""

    says: str
    passing: bool = False


def quota_lack(quotas: Iterable[Quota], needs: Sequence[Need]) -> Lack | None:
    """The first quota that would refuse a pod. Pods on their way out count until they are gone."""
    for quota in quotas:
        for resource, hard in quota.hard.items():
            wanted = sum((_counted(need, resource) * need.pods for need in needs), Decimal(0))
            left = hard - quota.used.get(resource, Decimal(0))
            if wanted > left:
                most = max(needs, key=lambda need: _counted(need, resource) * need.pods)
                return Lack(
                    f"spec.components[{most.component}]: {_many(needs)} need {shown(resource, wanted)} of {resource}, "
                    f"and ResourceQuota {quota.name} leaves {shown(resource, max(left, Decimal(0)))} of "
                    f"{shown(resource, hard)}; raise the quota, or lower replicas or requests"
                )
    return None


def node_lack(nodes: Sequence[Node] | None, needs: Sequence[Need]) -> Lack | None:
    """The first component that does not find places on the nodes for all its pods."""
    if nodes is None or (short := _unplaced(nodes, needs, leaving=False)) is None:
        return None
    need, homeless = short
    where = [node for node in nodes if _may_run(need, node)]
    says = (
        f"spec.components[{need.component}]: {homeless} of {_pods(need.pods)} of {_asks(need)} find no node; "
        f"{_offer(where, len(nodes))}"
    )
    return Lack(says, passing=_unplaced(nodes, needs, leaving=True) is None)


def open_to(nodes: Iterable[Node], need: Need) -> tuple[Node, ...]:
    """The nodes where one such pod may run, and finds room now."""
    return tuple(node for node in nodes if _may_run(need, node) and _fits(need, node.free))


def _unplaced(nodes: Sequence[Node], needs: Sequence[Need], *, leaving: bool) -> tuple[Need, int] | None:
    """The first need with pods left over, and how many; None where all find a place."""
    free = {
        node.name: {
            key: amount + (node.leaving.get(key, Decimal(0)) if leaving else Decimal(0))
            for key, amount in node.free.items()
        }
        for node in nodes
    }
    placed: dict[str, list[Mapping[str, str]]] = {node.name: list(node.neighbours) for node in nodes}
    for need in sorted(needs, key=lambda item: _weight(item, nodes), reverse=True):
        allowed = [node for node in nodes if _may_run(need, node)]
        for number in range(need.pods):
            fitting = [
                node
                for node in allowed
                if _fits(need, free[node.name]) and not _repelled(need, node, nodes, placed)
            ]
            if not fitting:
                return need, need.pods - number
            best = min(fitting, key=lambda node: (_left(need, free[node.name]), node.name))
            for key, amount in _with_pod(need).items():
                free[best.name][key] = free[best.name].get(key, Decimal(0)) - amount
            placed[best.name].append(need.labels)
    return None


def _with_pod(need: Need) -> dict[str, Decimal]:
    return {**need.amount.requests, PODS: Decimal(1)}


def _fits(need: Need, free: Amounts) -> bool:
    return all(amount <= free.get(key, Decimal(0)) for key, amount in _with_pod(need).items() if amount)


def _left(need: Need, free: Amounts) -> Decimal:
    """What would be free of the scarcest resource: the share of it that stays."""
    shares = [
        (free[key] - amount) / free[key]
        for key, amount in need.amount.requests.items()
        if free.get(key, Decimal(0))
    ]
    return min(shares, default=Decimal(1))


def _weight(need: Need, nodes: Sequence[Node]) -> Decimal:
    """How large one pod is beside all that is free, by its largest share."""
    total = {
        key: sum((node.free.get(key, Decimal(0)) for node in nodes), Decimal(0))
        for key in need.amount.requests
    }
    shares = [amount / total[key] for key, amount in need.amount.requests.items() if total[key] > 0]
    return max(shares, default=Decimal(0))


def _may_run(need: Need, node: Node) -> bool:
    return _selected(need.spec, node) and all(
        _tolerated(taint, need.spec.get("tolerations") or ())
        for taint in node.taints
        if taint.get("effect") not in _HARMLESS
    )


def _selected(spec: Mapping[str, Any], node: Node) -> bool:
    wanted: Mapping[str, str] = spec.get("nodeSelector") or {}
    if not wanted.items() <= node.labels.items():
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = (affinity or {}).get("nodeSelectorTerms")
    return terms is None or any(_term_holds(term, node) for term in terms)


def _term_holds(term: Mapping[str, Any], node: Node) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": node.name}
    return all(expression_holds(item, node.labels) for item in expressions) and all(
        expression_holds(item, named) for item in fields
    )


def expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A requirement of a selector as Kubernetes means it: Gt and Lt compare whole numbers."""
    values: Sequence[str] = expression.get("values") or ()
    found = labels.get(expression.get("key", ""))
    match order := expression.get("operator"):
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt":
            if found is None or not found.lstrip("-").isdigit() or len(values) != 1:
                return False
            return int(found) > int(values[0]) if order == "Gt" else int(found) < int(values[0])
        case _:
            return False


def _tolerated(taint: Mapping[str, str], tolerations: Iterable[Mapping[str, str]]) -> bool:
    for toleration in tolerations:
        key, effect = toleration.get("key", ""), toleration.get("effect", "")
        if effect not in ("", taint.get("effect", "")) or key not in ("", taint.get("key", "")):
            continue
        if toleration.get("operator", "Equal") == "Exists":
            return True
        if key and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def _repelled(
    need: Need, node: Node, nodes: Sequence[Node], placed: Mapping[str, Sequence[Mapping[str, str]]]
) -> bool:
    """Whether a required anti-affinity of the pods keeps one off because of who runs in that part of the cluster."""
    terms = ((need.spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or ()
    for term in terms:
        if term.get("namespaces") or "namespaceSelector" in term:
            # Who runs in other namespaces is not known here.
            continue
        topology, selector = term.get("topologyKey", HOSTNAME), term.get("labelSelector") or {}
        domain = _domain(node, topology)
        beside = [other for other in nodes if domain is not None and _domain(other, topology) == domain]
        if any(_matches(selector, labels) for other in beside for labels in placed[other.name]):
            return True
    return False


def _domain(node: Node, topology: str) -> str | None:
    return node.labels.get(topology, node.name if topology == HOSTNAME else None)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    plain: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    if not plain and not expressions:
        return False
    return plain.items() <= labels.items() and all(expression_holds(item, labels) for item in expressions)


def _counted(need: Need, resource: str) -> Decimal:
    """What one pod counts for in a quota."""
    if resource in (PODS, "count/pods"):
        return Decimal(1)
    if resource.startswith("limits."):
        return need.amount.limits.get(resource.removeprefix("limits."), Decimal(0))
    return need.amount.requests.get(resource.removeprefix("requests."), Decimal(0))


def shown(resource: str, amount: Decimal) -> str:
    """An amount as people write it: 1500m, 512Mi, 3."""
    if resource.endswith("cpu"):
        return f"{amount * 1000:.0f}m" if amount % 1 else f"{amount:.0f}"
    if resource.endswith(("memory", "storage")):
        return f"{amount / 2**20:.0f}Mi"
    return f"{amount:.0f}"


def _asks(need: Need) -> str:
    parts = [f"{shown(key, amount)} {key}" for key, amount in sorted(need.amount.requests.items()) if amount]
    return " and ".join(parts) or "no requests"


def _offer(nodes: Sequence[Node], all_nodes: int) -> str:
    if not nodes:
        return (
            f"nodeSelector, affinity or tolerations of the template let them run on none of {all_nodes} node(s); mend "
            "them, or label or add nodes"
        )
    most = sorted(nodes, key=lambda node: node.free.get("cpu", Decimal(0)), reverse=True)[:_SHOWN]
    told = ", ".join(
        f"{node.name} {shown('cpu', node.free.get('cpu', Decimal(0)))} cpu and "
        f"{shown('memory', node.free.get('memory', Decimal(0)))} memory and "
        f"{node.free.get(PODS, Decimal(0)):.0f} pods"
        for node in most
    )
    more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
    return f"free are {told}{more}; free that much, or add a node"


def _many(needs: Sequence[Need]) -> str:
    return _pods(sum(need.pods for need in needs)) + " beside those that serve"


def _pods(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"
