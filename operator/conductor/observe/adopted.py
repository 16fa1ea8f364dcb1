"""Reads what a user made and a release takes over: it carries none of our labels, or its pods do not."""

from collections.abc import Iterable, Mapping
from typing import Any

from conductor.adapters.kube import Kube
from conductor.api import names
from conductor.api.spec import Colour, ReleaseSpec
from conductor.api.status import ReleaseStatus
from conductor.domain.found import Found, FoundDeployment, FoundPod
from conductor.domain.revision import Revision, pod_labels
from conductor.domain.snapshot import Pod, ServiceState, Workload
from conductor.observe import read, read_pods

Object = Mapping[str, Any]


def to_be_adopted(spec: ReleaseSpec | None, status: ReleaseStatus) -> bool:
    """Whether what `spec.adopt` names has to be looked at."""
    return (
        spec is not None and spec.adopt is not None and not status.active_revision and status.upgrade is None
    )


def in_use(status: ReleaseStatus, revisions: Mapping[str, Revision]) -> tuple[Revision, ...]:
    """Adopted revisions that serve or stand by: their pods have to be looked at."""
    hashes = {status.active_revision, status.upgrade.from_revision if status.upgrade else ""} - {""}
    known = (revisions.get(hash_) for hash_ in sorted(hashes))
    return tuple(revision for revision in known if revision is not None and revision.adopted is not None)


def found(kube: Kube, namespace: str, spec: ReleaseSpec, services: Mapping[str, ServiceState]) -> Found:
    """What `spec.adopt` names, as it is now. Raises ApiError."""
    deployments = {}
    for entry in spec.adopt.deployments if spec.adopt else ():
        # By a list: nothing else asks for the right to get a single one.
        for obj in kube.list("Deployment", namespace, fields=f"metadata.name={entry.name}"):
            selector = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
            pods = kube.list("Pod", namespace, _joined(selector)) if selector else []
            deployments[entry.name] = deployment(obj, pods)
    named = {service.name for component in spec.components for service in component.services}
    selected = {
        name: frozenset(
            pod["metadata"]["name"]
            for pod in kube.list("Pod", namespace, _joined(services[name].selector))
            if _stands(pod)
        )
        for name in sorted(named & set(services))
        if services[name].selector
    }
    return Found(deployments, selected)


def deployment(obj: Object, pods: Iterable[Object]) -> FoundDeployment:
    """A user's Deployment with its pods, those on their way out left out."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    replicas = spec.get("replicas", 1)
    owner = next((item for item in metadata.get("ownerReferences") or [] if item.get("controller")), None)
    label = read.labels(obj)
    selector = spec.get("selector") or {}
    return FoundDeployment(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        replicas=replicas,
        settled=status.get("observedGeneration", 0) >= metadata.get("generation", 0)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == replicas,
        paused=bool(spec.get("paused")),
        controller=f"{owner['kind']} {owner['name']}" if owner else "",
        release=label.get(names.LABEL_RELEASE, ""),
        revision=label.get(names.LABEL_REVISION, ""),
        selector=selector.get("matchLabels") or {},
        plain_selector=not selector.get("matchExpressions"),
        template=spec["template"],
        pods=tuple(
            FoundPod(
                pod["metadata"]["name"],
                any(
                    condition["type"] == "Ready" and condition["status"] == "True"
                    for condition in (pod.get("status") or {}).get("conditions") or []
                ),
                read.labels(pod).get(names.LABEL_POD_TEMPLATE_HASH, ""),
            )
            for pod in pods
            if _stands(pod)
        ),
    )


def adopted_pods(
    kube: Kube, namespace: str, release: str, revision: Revision, workloads: Iterable[Workload]
) -> list[Pod]:
    """Pods of an adopted revision, told as if they carried our labels. Raises ApiError."""
    colours = {item.component: item.colour for item in workloads if item.revision == revision.hash}
    pods: list[Pod] = []
    for component, workload in revision.adopted.workloads.items() if revision.adopted else ():
        ours = pod_labels(release, component, colours.get(component, Colour.BLUE), revision.hash)
        for obj in kube.list("Pod", namespace, _joined(workload.pods)):
            metadata = {
                **obj["metadata"],
                "labels": {**read.labels(obj), **ours, names.LABEL_SERVING: "true"},
            }
            pod = read_pods.pod({**obj, "metadata": metadata})
            if pod is not None:
                pods.append(pod)
    return pods


def _stands(pod: Object) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return "deletionTimestamp" not in pod["metadata"] and not ended


def _joined(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
