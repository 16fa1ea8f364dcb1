"""From objects as the API server shows them to the snapshot's own types. Pure readers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from conductor.api import names
from conductor.api.parse import parse_spec
from conductor.api.spec import Colour, ReleaseSpec
from conductor.domain.revision import Revision
from conductor.domain.snapshot import (
    Endpoint,
    JobState,
    RouteParent,
    RouteRule,
    RouteState,
    ServiceState,
    TrafficConfigMap,
    Workload,
)
from conductor.domain.traffic.previews import is_preview

Object = Mapping[str, Any]
_ROLLOUT = "deployment.kubernetes.io/revision"
_JOB_NAME = "batch.kubernetes.io/job-name"

LONGEST = 300
#: What kubelet calls a container that its runtime could not start.
NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


def instant(text: str) -> datetime:
    """RFC 3339, as the API server writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def labels(obj: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return found


def epoch(obj: Object) -> int:
    """The epoch that a leader wrote on an object; -1 where there is none that can be read."""
    written = (obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_EPOCH, "")
    return int(written) if written.isdigit() else -1


def traffic_config_map(obj: Object) -> TrafficConfigMap:
    """The ConfigMap that names the colour."""
    return TrafficConfigMap(
        name=obj["metadata"]["name"],
        colour=(obj.get("data") or {}).get("current"),
        resource_version=obj["metadata"].get("resourceVersion", ""),
        epoch=epoch(obj),
    )


def workload(obj: Object) -> Workload | None:
    """A Deployment of ours, or None."""
    label = labels(obj)
    if names.LABEL_REVISION not in label or label.get(names.LABEL_COLOUR) not in set(Colour):
        return None
    status = obj.get("status") or {}
    refused = conditions_of(status).get("ReplicaFailure", {})
    failing = refused.get("status") == "True"
    return Workload(
        name=obj["metadata"]["name"],
        component=label.get(names.LABEL_COMPONENT, ""),
        colour=Colour(label[names.LABEL_COLOUR]),
        revision=label[names.LABEL_REVISION],
        replicas=obj["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        observed=status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0),
        resource_version=obj["metadata"].get("resourceVersion", ""),
        epoch=epoch(obj),
        adopted=names.ANNOTATION_ADOPTED in (obj["metadata"].get("annotations") or {}),
        paused=bool(obj["spec"].get("paused")),
        rollout=(obj["metadata"].get("annotations") or {}).get(_ROLLOUT, ""),
        refused=(refused.get("message") or "")[:LONGEST] if failing else "",
        refused_at=moved_at(refused) if failing else None,
    )


def conditions_of(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Conditions by their type."""
    return {condition["type"]: condition for condition in status.get("conditions") or []}


def moved_at(condition: Mapping[str, Any]) -> datetime | None:
    """Since when a condition is as it is."""
    written = condition.get("lastTransitionTime")
    return instant(written) if written else None


def service(obj: Object) -> ServiceState:
    """Any Service, ours or not."""
    metadata, spec = obj["metadata"], obj["spec"]
    label = labels(obj)
    managers = {entry["manager"] for entry in metadata.get("managedFields") or [] if _touches_selector(entry)}
    return ServiceState(
        name=metadata["name"],
        release=label.get(names.LABEL_RELEASE, ""),
        selector=spec.get("selector") or {},
        ports=tuple(spec.get("ports") or ()),
        resource_version=metadata["resourceVersion"],
        epoch=epoch(obj),
        cluster_ip=spec.get("clusterIP", "") if spec.get("clusterIP") != "None" else "",
        role=label.get(names.LABEL_ROLE, ""),
        managers=tuple(sorted(managers)),
        created=names.ANNOTATION_CREATED in (metadata.get("annotations") or {}),
    )


def _touches_selector(entry: Mapping[str, Any]) -> bool:
    return "f:selector" in (entry.get("fieldsV1") or {}).get("f:spec", {})


def route(obj: Object) -> RouteState:
    """An HTTPRoute that a release names."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    managers = {
        entry["manager"]
        for entry in metadata.get("managedFields") or []
        if "f:rules" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    }
    gateways = tuple(str(parent.get("name", "")) for parent in spec.get("parentRefs") or ())
    preview = annotations.get(names.ANNOTATION_PREVIEW, "")
    said = [_parent(item) for item in (obj.get("status") or {}).get("parents") or ()]
    return RouteState(
        name=metadata["name"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        epoch=epoch(obj),
        rules=tuple(
            RouteRule(
                tuple(rule.get("backendRefs") or ()),
                bool(rule.get("sessionPersistence")),
                rule,
                is_preview(rule, preview),
            )
            for rule in spec.get("rules") or ()
        ),
        gateways=gateways,
        parent_keys=tuple(
            f"{parent.get('namespace') or metadata.get('namespace', '')}/{parent.get('name', '')}"
            for parent in spec.get("parentRefs") or ()
        ),
        hostnames=tuple(str(host) for host in spec.get("hostnames") or ()),
        # A controller that is gone leaves its last word behind.
        parents=tuple(parent for parent in said if parent.gateway in gateways),
        managers=tuple(sorted(managers)),
        kept=annotations.get(names.ANNOTATION_BACKENDS, ""),
        preview=preview,
        annotated=bool(annotations),
    )


def _parent(item: Mapping[str, Any]) -> RouteParent:
    conditions = {condition["type"]: condition for condition in item.get("conditions") or []}
    needed = [conditions.get(type_) or {} for type_ in ("Accepted", "ResolvedRefs")]
    refused = next((found for found in needed if found.get("status") != "True"), None)
    said = f"{refused.get('reason', '')}: {refused.get('message', '')}" if refused else ""
    return RouteParent(
        gateway=(item.get("parentRef") or {}).get("name", ""),
        generation=min(found.get("observedGeneration", 0) for found in needed),
        accepted=needed[0].get("status") == "True",
        resolved=needed[1].get("status") == "True",
        message=said.strip(": ")[:300] or "it does not say why",
        dropped=_dropped(conditions.get("PartiallyInvalid") or {}),
    )


def _dropped(condition: Mapping[str, Any]) -> str:
    if condition.get("status") != "True":
        return ""
    return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")[:300]


@dataclass(frozen=True, slots=True)
class Slice:
    """One EndpointSlice: a part of a Service's endpoints."""

    service: str
    endpoints: tuple[Endpoint, ...]


def endpoint_slice(obj: Object) -> Slice:
    """Endpoints of one slice; terminating ones are not ready."""
    return Slice(
        labels(obj).get("kubernetes.io/service-name", ""),
        tuple(
            Endpoint(
                (endpoint.get("targetRef") or {}).get("name", ""),
                (endpoint.get("conditions") or {}).get("ready") is not False,
            )
            for endpoint in obj.get("endpoints") or []
        ),
    )


def endpoints(slices: Sequence[Object]) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints by Service, over all of its slices."""
    return joined(endpoint_slice(item) for item in slices)


def joined(slices: Iterable[Slice]) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints by Service; a pod that stands in two slices counts once."""
    found: dict[str, dict[str, Endpoint]] = {}
    for item in slices:
        for endpoint in item.endpoints:
            found.setdefault(item.service, {})[endpoint.pod] = endpoint
    return {name: tuple(by_pod.values()) for name, by_pod in found.items()}


@dataclass(frozen=True, slots=True)
class JobPod:
    """What one pod of a migration Job says of its end."""

    job: str
    answer: Mapping[str, Any] | None
    message: str
    exit_code: int | None
    ran: bool
    waiting_reason: str
    leaving_at: datetime | None = None
    address: str = ""
    #: Where it ended well.
    done_on: str = ""


def job_pod(obj: Object) -> JobPod | None:
    """A pod of a Job, or None; its answer is its termination message."""
    job_name = labels(obj).get(_JOB_NAME)
    if job_name is None:
        return None
    answer, message = _answer(obj)
    leaving = obj["metadata"].get("deletionTimestamp")
    leaving_at = instant(leaving) if leaving else None
    status = obj.get("status") or {}
    running = status.get("phase") == "Running" and leaving_at is None
    return JobPod(
        job_name,
        answer,
        message,
        _exit_code(obj),
        _ran(obj),
        _waiting_reason(obj),
        leaving_at,
        str(status.get("podIP") or "") if running else "",
        (obj.get("spec") or {}).get("nodeName", "") if status.get("phase") == "Succeeded" else "",
    )


def job(obj: Object, pods: Sequence[Object]) -> JobState:
    """A migration Job; its answer is its pod's termination message."""
    return answered(unanswered(obj), [item for pod in pods if (item := job_pod(pod)) is not None])


def unanswered(obj: Object) -> JobState:
    """A migration Job without what its pods said."""
    conditions = {
        condition["type"]: condition for condition in (obj.get("status") or {}).get("conditions") or []
    }
    failed = conditions.get("Failed", {})
    created = obj["metadata"].get("creationTimestamp")
    return JobState(
        name=obj["metadata"]["name"],
        succeeded=conditions.get("Complete", {}).get("status") == "True",
        failed=failed.get("status") == "True",
        message=failed.get("message", ""),
        created_at=instant(created) if created else None,
        digest=(obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_DIGEST, ""),
        completions=(obj.get("spec") or {}).get("completions") or 1,
    )


def answered(state: JobState, pods: Iterable[JobPod]) -> JobState:
    """The Job with what its pods said: the first answer, else the last word."""
    own = [item for item in pods if item.job == state.name]
    spoken = next((item for item in own if item.answer is not None), None)
    message = spoken.message if spoken else next((item.message for item in reversed(own) if item.message), "")
    return replace(
        state,
        answer=spoken.answer if spoken else None,
        message=message or state.message,
        exit_code=next((item.exit_code for item in own if item.exit_code is not None), None),
        # An ended Job whose pods are gone may have done anything.
        started=any(item.ran for item in own) or (state.ended and not own),
        waiting_reason=next((item.waiting_reason for item in own if item.waiting_reason), ""),
        leaving_at=next((item.leaving_at for item in own if item.leaving_at), None),
        podless=not own and not state.ended,
        address=next((item.address for item in own if item.address), "") if not state.ended else "",
        nodes=frozenset(item.done_on for item in own if item.done_on),
    )


def refusal(events: Iterable[Object]) -> str:
    """What the newest of a Job's Events says of why its pod was not created; empty where none says anything."""
    said = [item for item in events if item.get("reason") == "FailedCreate"]
    newest = max(said, key=lambda item: item["metadata"].get("creationTimestamp") or "", default=None)
    return str(newest.get("note") or "")[:400] if newest is not None else ""


def _ran(pod: Object) -> bool:
    """Whether a container of this pod ever ran; a pod that ended without saying is taken to have run."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    for container in containers:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            if "running" in state or (
                "terminated" in state and state["terminated"].get("reason") not in NEVER_RAN
            ):
                return True
    return not containers and status.get("phase") in ("Succeeded", "Failed")


def _waiting_reason(pod: Object) -> str:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        reason: str = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
        if reason not in _STARTING:
            return reason
    return ""


def _exit_code(pod: Object) -> int | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        code = ((status.get("state") or {}).get("terminated") or {}).get("exitCode")
        if isinstance(code, int):
            return code
    return None


def _answer(pod: Object) -> tuple[Mapping[str, Any] | None, str]:
    message = _held_up(pod.get("status") or {})
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        text = ((status.get("state") or {}).get("terminated") or {}).get("message", "")
        try:
            answer = json.loads(text) if text else None
        except (ValueError, RecursionError):
            # Brackets alone, four thousand of them, are a termination message too.
            answer, message = None, text[:300]
        if isinstance(answer, dict):
            return answer, str(answer.get("message", ""))
    return None, message


def _held_up(status: Mapping[str, Any]) -> str:
    """Why a pod of a Job does not begin: it finds no node, or its image or configuration is not there."""
    scheduled = conditions_of(status).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', '')}: {scheduled.get('message', '')}"[:LONGEST]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in _STARTING:
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:LONGEST]
    return ""


def revision(obj: Object) -> Revision | None:
    """A recorded revision; one that this operator cannot read is left alone."""
    data = obj.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("spec"), Mapping):
        return None
    spec = parse_spec(data["spec"])
    if not isinstance(spec, ReleaseSpec):
        return None
    try:
        return Revision.model_validate(
            {
                "hash": data.get("hash"),
                "spec": spec,
                "pinned": data.get("pinned") or (),
                "adopted": data.get("adopted") or None,
            }
        )
    except ValidationError:
        return None
