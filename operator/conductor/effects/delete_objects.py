"""Delete objects that we own, one after the other; what is gone already is done."""

from conductor.adapters.kube import Kube
from conductor.domain.effects import DeleteObjects


def delete_objects(kube: Kube, namespace: str, effect: DeleteObjects) -> None:
    for kind, name in effect.objects:
        kube.delete(kind, namespace, name, version=effect.versions.get((kind, name)))
