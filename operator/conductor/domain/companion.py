"""What stands beside each Deployment of a revision under the same name: its autoscaler and its disruption budget."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conductor.api import names
from conductor.api.sizing import Autoscaling, DisruptionBudget
from conductor.api.spec import Component
from conductor.domain.room import expression_holds

AUTOSCALER = "HorizontalPodAutoscaler"
BUDGET = "PodDisruptionBudget"
KINDS = (AUTOSCALER, BUDGET)
FIELDS: Mapping[str, str] = {AUTOSCALER: "autoscaling", BUDGET: "disruptionBudget"}
_API_VERSIONS: Mapping[str, str] = {AUTOSCALER: "autoscaling/v2", BUDGET: "policy/v1"}

#: The most that the API server takes.
_UNBOUNDED = 2**31 - 1
#: The part of such an object's spec that somebody asked for; where it leads is ours to say.
Asked = Mapping[str, Any]


@dataclass(frozen=True)
class Companion:
    """One of them as it stands. `digest`: of what we wrote last; `desired`: what an autoscaler wants now, 0 unknown."""

    kind: str
    name: str
    component: str
    revision: str
    digest: str
    asked: Asked | None
    resource_version: str
    epoch: int = -1
    desired: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignBudget:
    """A PodDisruptionBudget that is none of the release's; no selector selects nothing."""

    name: str
    selector: Mapping[str, Any] | None

    def selects(self, labels: Mapping[str, str]) -> bool:
        """An empty selector selects every pod of the namespace."""
        if self.selector is None:
            return False
        plain: Mapping[str, str] = self.selector.get("matchLabels") or {}
        expressions = self.selector.get("matchExpressions") or ()
        return plain.items() <= labels.items() and all(expression_holds(item, labels) for item in expressions)


def asked_by(component: Component, kind: str) -> Asked | None:
    """What a component asks for of that kind, as the object of Kubernetes has it; None where it asks for none."""
    if kind == AUTOSCALER:
        return _autoscaler(component.autoscaling) if component.autoscaling else None
    return _budget(component.disruption_budget) if component.disruption_budget else None


def _autoscaler(given: Autoscaling) -> Asked:
    metrics = [dict(metric) for metric in given.metrics]
    if given.target_cpu_utilization_percentage is not None:
        target = {"type": "Utilization", "averageUtilization": given.target_cpu_utilization_percentage}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return {
        "minReplicas": given.min_replicas,
        "maxReplicas": given.max_replicas,
        "metrics": metrics,
        **({"behavior": given.behavior} if given.behavior else {}),
    }


def _budget(given: DisruptionBudget) -> Asked:
    return given.model_dump(by_alias=True, exclude_none=True)


def inert(kind: str, asked: Asked) -> Asked:
    """What does nothing, for as long as it stands alone: no fence holds a creation that comes too late."""
    if kind == BUDGET:
        return {"maxUnavailable": "100%"}
    still = {"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"selectPolicy": "Disabled"}}
    # An autoscaler keeps its bounds whatever its policies say.
    return {**asked, "minReplicas": 1, "maxReplicas": _UNBOUNDED, "behavior": still}


def manifest(
    kind: str, deployment: Mapping[str, Any], asked: Asked, held: Asked, epoch: int
) -> dict[str, Any]:
    """The object beside that Deployment, of which name, namespace, labels and selector are taken.

    `held`: what it is held at, which is what is asked for but in an upgrade. `epoch`: of the leader that writes it.
    """
    metadata = deployment["metadata"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]}
    leads = (
        {"scaleTargetRef": target}
        if kind == AUTOSCALER
        else {"selector": {"matchLabels": dict(metadata["labels"])}}
    )
    spec = {**leads, **held}
    return {
        "apiVersion": _API_VERSIONS[kind],
        "kind": kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": dict(metadata["labels"]),
            "annotations": {
                names.ANNOTATION_ASKED: _text(asked),
                names.ANNOTATION_DIGEST: _digest(asked, spec),
                names.ANNOTATION_EPOCH: str(epoch),
            },
        },
        "spec": spec,
    }


def field_of(manifest: Mapping[str, Any]) -> str:
    """The field that asks for such an object; empty for one of another kind."""
    field = FIELDS.get(manifest["kind"])
    return (
        f"spec.components[{manifest['metadata']['labels'][names.LABEL_COMPONENT]}].{field}" if field else ""
    )


def _digest(asked: Asked, spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text([asked, spec]).encode()).hexdigest()[: names.HASH_LENGTH]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
