"""Delete pods by UID; their own grace period and preStop hook apply."""

from conductor.adapters.kube import ConflictError, Kube
from conductor.domain.effects import DeletePods


def delete_pods(kube: Kube, namespace: str, effect: DeletePods) -> None:
    for name, uid in effect.pods:
        try:
            kube.delete("Pod", namespace, name, uid=uid)
        except ConflictError:
            # Another pod took the name: the one that was meant is gone.
            continue
