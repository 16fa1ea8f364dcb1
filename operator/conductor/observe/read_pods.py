"""From pods as the API server shows them to what of them a decision may read."""

from collections.abc import Mapping
from typing import Any

from conductor.api import names
from conductor.api.spec import Colour
from conductor.domain.snapshot import FailedPod, Pod
from conductor.observe.read import LONGEST, Object, conditions_of, epoch, instant, labels, moved_at


def pod(obj: Object) -> Pod | None:
    """A pod of a revision, or None."""
    label = labels(obj)
    if names.LABEL_REVISION not in label or label.get(names.LABEL_COLOUR) not in set(Colour):
        return None
    status = obj.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    conditions = conditions_of(status)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    waiting = next(
        (
            (item, item["state"]["waiting"])
            for item in containers
            if (item.get("state") or {}).get("waiting", {}).get("reason")
            not in (None, "ContainerCreating", "PodInitializing")
        ),
        None,
    )
    scheduled = conditions.get("PodScheduled", {})
    worst: Object = max(containers, key=lambda item: item.get("restartCount", 0), default={})
    ill = waiting[0] if waiting else worst
    return Pod(
        name=obj["metadata"]["name"],
        uid=obj["metadata"]["uid"],
        component=label.get(names.LABEL_COMPONENT, ""),
        colour=Colour(label[names.LABEL_COLOUR]),
        revision=label[names.LABEL_REVISION],
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in obj["metadata"],
        serving=label.get(names.LABEL_SERVING) == "true",
        created_at=instant(obj["metadata"]["creationTimestamp"]),
        ip=status.get("podIP", ""),
        restarts=max((item.get("restartCount", 0) for item in containers), default=0),
        waiting_reason=waiting[1]["reason"] if waiting else "",
        waiting_message=(waiting[1].get("message") or "")[:LONGEST] if waiting else "",
        image=waiting[0].get("image", "") if waiting else "",
        unschedulable=(scheduled.get("message") or "unschedulable")[:LONGEST]
        if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        else "",
        running=any("running" in (item.get("state") or {}) for item in containers),
        resource_version=obj["metadata"].get("resourceVersion", ""),
        epoch=epoch(obj),
        node=(obj.get("spec") or {}).get("nodeName", ""),
        container=ill.get("name", "") if waiting or ill.get("restartCount") else "",
        died_of=_died_of(ill),
        placed_at=moved_at(scheduled) if scheduled.get("status") == "True" else None,
        ends_by=instant(obj["metadata"]["deletionTimestamp"])
        if "deletionTimestamp" in obj["metadata"]
        else None,
    )


def failed_pod(obj: Object) -> FailedPod | None:
    """A pod of a revision that its node ended for good, or None."""
    label, status = labels(obj), obj.get("status") or {}
    if names.LABEL_REVISION not in label or status.get("phase") != "Failed":
        return None
    return FailedPod(
        name=obj["metadata"]["name"],
        component=label.get(names.LABEL_COMPONENT, ""),
        revision=label[names.LABEL_REVISION],
        reason=status.get("reason") or "",
        message=(status.get("message") or "")[:LONGEST],
        node=(obj.get("spec") or {}).get("nodeName", ""),
        created_at=instant(obj["metadata"]["creationTimestamp"]),
    )


def _died_of(container: Mapping[str, Any]) -> str:
    """Why a container ended last; empty where it never did."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        if "terminated" in state:
            return str(state["terminated"].get("reason") or "")
    return ""
