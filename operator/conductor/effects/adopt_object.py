"""Take over an object that a user made, or hand it back, as long as it is as it was read."""

from conductor.adapters.kube import Kube
from conductor.domain.effects import AdoptObject


def adopt_object(kube: Kube, namespace: str, effect: AdoptObject) -> None:
    metadata = {**effect.change.get("metadata", {}), "resourceVersion": effect.resource_version}
    kube.merge(effect.kind, namespace, effect.object, {**effect.change, "metadata": metadata})
