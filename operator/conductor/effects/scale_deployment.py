"""Set a Deployment's replicas, and nothing else of it, as long as it is as it was read."""

from typing import Any

from conductor.adapters.kube import Kube
from conductor.domain.effects import ScaleDeployment


def scale_deployment(kube: Kube, namespace: str, effect: ScaleDeployment) -> None:
    change: dict[str, Any] = {"spec": {"replicas": effect.replicas}}
    if effect.resource_version is not None:
        change["metadata"] = {"resourceVersion": effect.resource_version}
    kube.merge("Deployment", namespace, effect.deployment, change)
