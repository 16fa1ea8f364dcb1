"""Create an object under a deterministic name; that it is there already means that we were here before."""

from conductor.adapters.kube import AlreadyExistsError, Kube
from conductor.api import names
from conductor.domain.effects import CreateObject


def create_object(kube: Kube, namespace: str, effect: CreateObject) -> None:
    kind, name = effect.manifest["kind"], effect.manifest["metadata"]["name"]
    try:
        kube.create(kind, namespace, effect.manifest)
    except AlreadyExistsError:
        found = kube.get(kind, namespace, name)
        ours = effect.manifest["metadata"]["labels"][names.LABEL_RELEASE]
        if found is None or found["metadata"].get("labels", {}).get(names.LABEL_RELEASE) != ours:
            raise
