"""What a kubelet tells by Events of a container that it cannot start, and what its status does not say: since when."""

from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import Object

_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def state_of(waiting: str, *, pulls: bool) -> Object:
    """A container's state where it waits for that reason, if for any, and its image may be on its way yet."""
    if not waiting:
        return {"running": {}}
    return {"waiting": {"reason": "ContainerCreating" if pulls else waiting, "message": "as scripted"}}


def failed(kube: MemoryKube, namespace: str, pod: str, container: Object) -> None:
    """One Event for each way of failing, dated once: a repetition is counted on it."""
    waiting = container["state"].get("waiting", {}).get("reason", "ContainerCreating")
    if waiting == "ContainerCreating":
        return
    name = f"{pod}.{container['name']}.{'pull' if waiting in _PULLS else 'start'}"
    if kube.get("Event", namespace, name) is not None:
        return
    image = container["image"]
    note = f'Failed to pull image "{image}": as scripted' if waiting in _PULLS else "Error: as scripted"
    regarding = {"kind": "Pod", "name": pod, "fieldPath": f"spec.containers{{{container['name']}}}"}
    told = {"reason": "Failed", "type": "Warning", "note": note, "regarding": regarding}
    kube.put(
        "Event", namespace, {"metadata": {"name": name}, "deprecatedFirstTimestamp": kube.stamp(), **told}
    )
