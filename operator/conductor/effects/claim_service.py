"""Write our epoch on a Service: a former leader's patch in flight then fails by its resourceVersion."""

from conductor.adapters.kube import Kube
from conductor.api.names import ANNOTATION_EPOCH
from conductor.domain.effects import ClaimService


def claim_service(kube: Kube, namespace: str, effect: ClaimService) -> None:
    change = {
        "metadata": {
            "resourceVersion": effect.resource_version,
            "annotations": {ANNOTATION_EPOCH: str(effect.epoch)},
        }
    }
    kube.merge("Service", namespace, effect.service, change)
