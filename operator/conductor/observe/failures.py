"""What Events alone tell: since when containers cannot be started, and why a Job has no pod."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from conductor.adapters.kube import ApiError, Kube, Object
from conductor.domain.signals import IMAGE_REASONS, in_question
from conductor.domain.snapshot import Pod
from conductor.observe.read import instant, refusal

#: What kubelet says where an image is to blame; whatever else it calls `Failed` is the container's start.
_PULLS = ("Failed to pull image", "Error: ErrImagePull", "Error: ImagePullBackOff")
#: An Event may come a moment after the status that it explains, and is kept for an hour unless a cluster says less.
_KEPT = timedelta(minutes=10)


def since_when(kube: Kube, namespace: str, pods: Iterable[Pod], now: datetime) -> Mapping[str, Pod]:
    """Those of the pods whose containers' patience is over unless they began to fail later, with when that was.

    One list for all of them, and none where no pod is in question. Raises ApiError where the API server does not
    answer.
    """
    asked = [pod for pod in pods if in_question(pod, now)]
    if not asked:
        return {}
    try:
        events = kube.list("Event", namespace, fields="regarding.kind=Pod,reason=Failed")
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        # The image may be newer than the chart, and with it than the rights.
        return {}
    return {pod.name: replace(pod, failing_since=_first(events, pod, now)) for pod in asked}


def why_no_pod(kube: Kube, namespace: str, job: str) -> str:
    """Why no pod of the Job is created, as its Events say; empty where they may not be read."""
    try:
        events = kube.list("Event", namespace, fields=f"regarding.kind=Job,regarding.name={job}")
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        # The image may be newer than the chart, and with it than the rights.
        return ""
    return refusal(events)


def _first(events: Iterable[Object], pod: Pod, now: datetime) -> datetime | None:
    of_image = pod.waiting_reason in IMAGE_REASONS
    told = [_when(event) for event in events if _is_of(event, pod) and _of_image(event) is of_image]
    if told:
        return min(told)
    return now if now - (pod.placed_at or pod.created_at) < _KEPT else None


def _is_of(event: Mapping[str, Any], pod: Pod) -> bool:
    regarding = event.get("regarding") or {}
    container = f"{{{pod.container}}}"
    return regarding.get("name") == pod.name and str(regarding.get("fieldPath") or "").endswith(container)


def _of_image(event: Mapping[str, Any]) -> bool:
    return str(event.get("note") or "").startswith(_PULLS)


def _when(event: Mapping[str, Any]) -> datetime:
    """Kubelet counts repetitions on one Event, which keeps the time of the first."""
    return instant(
        event.get("deprecatedFirstTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
