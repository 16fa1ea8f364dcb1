"""Effects on what is there, made valid only against the versions that the decision saw."""

from collections.abc import Iterable, Sequence

from conductor.api import names
from conductor.domain.effects import DeleteObjects, DeletePods, PublishColour, ScaleDeployment, SetServing
from conductor.domain.snapshot import Pod, Snapshot, Workload


def scale(workload: Workload, replicas: int) -> ScaleDeployment:
    return ScaleDeployment(workload.name, replicas, workload.resource_version)


def delete(s: Snapshot, objects: Sequence[tuple[str, str]]) -> DeleteObjects:
    """What runs, what leads to it and what stands beside it may not have moved; records, copies and Jobs never do."""
    known = {("Deployment", workload.name): workload.resource_version for workload in s.workloads}
    known |= {(item.kind, item.name): item.resource_version for item in s.companions or ()}
    known |= {("Service", service.name): service.resource_version for service in s.services.values()}
    return DeleteObjects(tuple(objects), {key: known[key] for key in objects if key in known})


def delete_pods(pods: Iterable[Pod]) -> DeletePods:
    doomed = tuple(pods)
    return DeletePods(
        tuple((pod.name, pod.uid) for pod in doomed), {pod.name: pod.resource_version for pod in doomed}
    )


def set_serving(changes: Iterable[tuple[Pod, bool]]) -> SetServing:
    told = tuple(changes)
    return SetServing(
        tuple((pod.name, serving) for pod, serving in told),
        {pod.name: pod.resource_version for pod, _ in told},
    )


def publish(s: Snapshot, config_map: str, colour: str) -> PublishColour:
    found = s.traffic_config_map
    return PublishColour(
        config_map,
        colour,
        found is not None,
        found.resource_version if found is not None else None,
        # By its label it is known for ours, and `deletionPolicy: Delete` takes it too.
        {names.LABEL_RELEASE: s.name, names.LABEL_ROLE: names.ROLE_TRAFFIC},
    )
