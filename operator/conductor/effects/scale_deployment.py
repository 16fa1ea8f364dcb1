"""Set a Deployment's replicas, and nothing else of it."""

from conductor.adapters.kube import Kube
from conductor.domain.effects import ScaleDeployment


def scale_deployment(kube: Kube, namespace: str, effect: ScaleDeployment) -> None:
    kube.merge("Deployment", namespace, effect.deployment, {"spec": {"replicas": effect.replicas}})
