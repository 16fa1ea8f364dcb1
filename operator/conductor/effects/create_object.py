"""Create an object under a deterministic name; that it is there already means that we were here before."""

from conductor.adapters.kube import AlreadyExistsError, Kube
from conductor.api import names
from conductor.domain.effects import CreateObject


def create_object(kube: Kube, namespace: str, effect: CreateObject) -> None:
    kind, name = effect.manifest["kind"], effect.manifest["metadata"]["name"]
    try:
        kube.create(kind, namespace, effect.manifest)
    except AlreadyExistsError:
        # Listed, as every pass does: for this rare case alone it would need the right to get them by name.
        ours = effect.manifest["metadata"]["labels"][names.LABEL_RELEASE]
        listed = kube.list(kind, namespace, f"{names.LABEL_RELEASE}={ours}")
        if not any(found["metadata"]["name"] == name for found in listed):
            raise
