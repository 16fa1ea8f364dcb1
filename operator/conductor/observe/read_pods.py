"""From pods as the API server shows them to what of them a decision may read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from conductor.api import names
from conductor.api.spec import Colour
from conductor.domain.snapshot import FailedPod, Pod
from conductor.observe.read import LONGEST, NEVER_RAN, Object, conditions_of, epoch, instant, labels, moved_at


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
        died_of=str(_last_end(ill).get("reason") or ""),
        ended_at=_ended_at(ill),
        placed_at=moved_at(scheduled) if scheduled.get("status") == "True" else None,
        ends_by=instant(obj["metadata"]["deletionTimestamp"])
        if "deletionTimestamp" in obj["metadata"]
        else None,
    )


def failed_pod(obj: Object) -> FailedPod | None:
    """A pod of a revision that its node ended for good, or None.

    One that is told to go (a drained node, a scaling) ends as Failed as well where SIGTERM is no good end to it.
    """
    label, status = labels(obj), obj.get("status") or {}
    if names.LABEL_REVISION not in label or status.get("phase") != "Failed":
        return None
    if "deletionTimestamp" in obj["metadata"] or not status.get("reason"):
        return None
    return FailedPod(
        name=obj["metadata"]["name"],
        component=label.get(names.LABEL_COMPONENT, ""),
        revision=label[names.LABEL_REVISION],
        reason=status["reason"],
        message=(status.get("message") or "")[:LONGEST],
        node=(obj.get("spec") or {}).get("nodeName", ""),
        created_at=instant(obj["metadata"]["creationTimestamp"]),
    )


def _last_end(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a container ended last; empty where it never did."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        if "terminated" in state:
            return state["terminated"] or {}
    return {}


def _ended_at(container: Mapping[str, Any]) -> datetime | None:
    """Until when a container ran last; None where it never did."""
    end = _last_end(container)
    written = end.get("finishedAt")
    return instant(written) if written and end.get("reason") not in NEVER_RAN else None
