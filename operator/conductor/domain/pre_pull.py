"""The Job that brings the images of one component onto every node where its pods may run. Pure builders.

It runs nothing of these images: an init container copies the waiter (`drain/`) into each pod, and that is the command
of a container of each image. So an image without a shell is pulled as any other, and nothing of it begins early.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from conductor.api import names
from conductor.domain.pre_stop import WAITER
from conductor.domain.room import Amount, Need, Node, open_to

_FOLDER = f"/{WAITER}"
_PROGRAM = f"{_FOLDER}/drain"
#: The waiter's image's own user: an image made for root runs as nobody here.
_USER = 65532
#: Pods that have ended keep no other off their node: each stays until all the others have found one of their own.
_HOLD_SECONDS = 5
_NODES_A_SECOND = 10
_LONGEST_HOLD_SECONDS = 60
_BACKOFF_LIMIT = 3
#: It is removed with its upgrade; this is for when no operator is there. As long as pods may take to come up, so that
#: none is made a second time.
_KEPT = timedelta(minutes=10)
#: A namespace with quotas takes no container without limits.
_RESOURCES = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
_CPU, _MEMORY = Decimal("0.001"), Decimal(8 * 2**20)
_BOUNDS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
#: What says where pods may run, and how their images are come by.
_OF_THE_TEMPLATE = (
    "nodeSelector",
    "tolerations",
    "schedulerName",
    "runtimeClassName",
    "imagePullSecrets",
    "serviceAccountName",
)


def pre_pull_job(
    deployment: Mapping[str, Any], waiter: str, nodes: Sequence[Node], *, upgrade: str, at_most: timedelta
) -> dict[str, Any] | None:
    """The Job for the pods of a Deployment of ours; None where no image is to be pulled, or no node takes its pods.

    `at_most`: after so long the Job is ended, however far it is.
    """
    template, metadata = deployment["spec"]["template"], deployment["metadata"]
    images = _images(template["spec"])
    amount = Amount({"cpu": max(_CPU * len(images), 10 * _CPU), "memory": max(2, len(images)) * _MEMORY})
    component = metadata["labels"][names.LABEL_COMPONENT]
    places = open_to(nodes, Need(component, 1, amount, template))
    if not images or not places:
        return None
    release = metadata["labels"][names.LABEL_RELEASE]
    name = names.pre_pull_name(release, upgrade, component)
    # No label of the candidate's own pods: nothing that selects those may take these for some of them.
    labels = {
        names.LABEL_RELEASE: release,
        names.LABEL_ROLE: names.ROLE_PRE_PULL,
        names.LABEL_UPGRADE: upgrade,
    }
    whose = {
        key: metadata["labels"][key]
        for key in (names.LABEL_COMPONENT, names.LABEL_COLOUR, names.LABEL_REVISION)
    }
    seconds = max(1, round(at_most.total_seconds()))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": metadata["namespace"], "labels": {**labels, **whose}},
        "spec": {
            "parallelism": len(places),
            "completions": len(places),
            "backoffLimit": _BACKOFF_LIMIT,
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": seconds + round(_KEPT.total_seconds()),
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(template["spec"], name, waiter, images, len(places)),
            },
        },
    }


def _pod(
    template: Mapping[str, Any], job: str, waiter: str, images: Mapping[str, str], nodes: int
) -> dict[str, Any]:
    hold = min(_LONGEST_HOLD_SECONDS, _HOLD_SECONDS + nodes // _NODES_A_SECOND)
    command = [_PROGRAM, "wait", f"-at-most={hold}s", f"-settle={hold}s", "-until=settled"]
    mount = {"name": WAITER, "mountPath": _FOLDER}
    small = {"securityContext": _BOUNDS, "resources": _RESOURCES}
    apart = {"labelSelector": {"matchLabels": {"batch.kubernetes.io/job-name": job}}}
    required = [{**apart, "topologyKey": "kubernetes.io/hostname"}]
    affinity: dict[str, Any] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
    }
    if on_nodes := (template.get("affinity") or {}).get("nodeAffinity"):
        affinity["nodeAffinity"] = on_nodes
    return {
        **{key: template[key] for key in _OF_THE_TEMPLATE if template.get(key)},
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": affinity,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": WAITER, "emptyDir": {"sizeLimit": "16Mi"}}],
        "initContainers": [
            {"name": WAITER, "image": waiter, "args": ["install", _PROGRAM], "volumeMounts": [mount], **small}
        ],
        "containers": [
            {
                "name": f"image-{number}",
                "image": image,
                **({"imagePullPolicy": policy} if policy else {}),
                "command": command,
                # An image's own folder may be closed to anybody but its own user.
                "workingDir": "/",
                "volumeMounts": [{**mount, "readOnly": True}],
                **small,
            }
            for number, (image, policy) in enumerate(images.items(), start=1)
        ],
    }


def _images(pod: Mapping[str, Any]) -> dict[str, str]:
    """Policies by image, empty where the template says none; what is never pulled is left out."""
    found: dict[str, str] = {}
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        policy = container.get("imagePullPolicy") or ""
        if policy != "Never" and (policy == "Always" or container["image"] not in found):
            found[container["image"]] = policy
    return found
