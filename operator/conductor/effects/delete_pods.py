"""Delete pods by UID and version; their own grace period and preStop hook apply."""

from conductor.adapters.kube import ConflictError, Kube
from conductor.domain.effects import DeletePods


def delete_pods(kube: Kube, namespace: str, effect: DeletePods) -> None:
    for name, uid in effect.pods:
        try:
            kube.delete("Pod", namespace, name, uid=uid, version=effect.versions.get(name))
        except ConflictError:
            found = kube.get("Pod", namespace, name)
            if found is not None and found["metadata"]["uid"] == uid:
                raise
            # Another pod took the name: the one that was meant is gone.
