"""What of each object a decision may read: the small values that both a fresh read and the watches give."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from conductor.domain.snapshot import FailedPod, JobState, Pod, ServiceState, Workload
from conductor.observe import read, read_pods
from conductor.observe.parsed import Parsed, Record
from conductor.observe.read import JobPod, Slice

#: Kinds whose objects carry the release's label, in the order in which they are read.
KINDS = ("ControllerRevision", "Deployment", "Pod", "Service", "EndpointSlice", "Job", "ConfigMap")


@dataclass(frozen=True, slots=True)
class Named:
    """An object of which only the name matters: a pinned ConfigMap, which never changes."""

    name: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A ControllerRevision that is there and that this operator cannot read."""

    name: str


Value = Workload | Pod | FailedPod | JobPod | ServiceState | Slice | JobState | Record | Named | Unreadable
#: By kind and name.
Values = Mapping[str, Mapping[str, Value]]


def value(kind: str, obj: Mapping[str, Any], parsed: Parsed) -> Value | None:
    """An object's value; None for one that no decision reads."""
    match kind:
        case "ControllerRevision":
            return parsed.record(obj) or Unreadable(obj["metadata"]["name"])
        case "Deployment":
            return read.workload(obj)
        case "Pod":
            return read.job_pod(obj) or read_pods.pod(obj) or read_pods.failed_pod(obj)
        case "Service":
            return read.service(obj)
        case "EndpointSlice":
            return read.endpoint_slice(obj)
        case "Job":
            return read.unanswered(obj)
        case "ConfigMap":
            return Named(obj["metadata"]["name"])
    raise ValueError(f"no release has objects of kind {kind}")


def same(former: Value | None, new: Value | None) -> bool:
    """Whether a decision could not tell the two apart; a resource version alone decides nothing."""
    if isinstance(former, Workload | Pod | ServiceState) and isinstance(new, Workload | Pod | ServiceState):
        return replace(former, resource_version=new.resource_version) == new
    return former == new
