"""How Jobs can go wrong before they run, and what becomes of one that brings images onto nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import Object
from conductor.api import names

PULL_TAKES = timedelta(seconds=2)


@dataclass(frozen=True)
class Stuck:
    """A Job whose container cannot be started, with the word that kubelet has for why."""

    waiting: str


@dataclass(frozen=True)
class Podless:
    """A Job of which no pod can be created, with what its controller says of that."""

    said: str


@dataclass(frozen=True)
class Pulling:
    """How the pods of such a Job do. `on`: the nodes that they come onto; none: as many as the Job asks for."""

    takes: timedelta = PULL_TAKES
    fails: bool = False
    waiting: str = ""
    on: tuple[str, ...] = ()


def pull(
    kube: MemoryKube, namespace: str, job: Object, age: timedelta, by_component: Mapping[str, Pulling]
) -> bool:
    """Show a Job that brings images onto nodes as it is at that age; answers whether it is one."""
    labels_of_job = job["metadata"]["labels"]
    if labels_of_job[names.LABEL_ROLE] != names.ROLE_PRE_PULL:
        return False
    how = by_component.get(labels_of_job[names.LABEL_COMPONENT], Pulling())
    name, spec = job["metadata"]["name"], job["spec"]
    late = timedelta(seconds=spec["activeDeadlineSeconds"])
    done = not how.waiting and age >= how.takes
    for number in range(spec["parallelism"]):
        status: Object = {"phase": "Succeeded" if done else "Pending"}
        if how.waiting:
            waits = {"state": {"waiting": {"reason": how.waiting, "message": "as scripted"}}}
            status["containerStatuses"] = [waits]
        labels = {**spec["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        node = how.on[number % len(how.on)] if how.on else f"node-{number}"
        metadata = {"name": f"{name}-{number}", "labels": labels, "job": name}
        pod: Object = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}, "status": status}
        found = kube.get("Pod", namespace, metadata["name"])
        if found is None or found["status"] != status:
            kube.put("Pod", namespace, pod)
    failed = how.fails or age >= late
    if done or failed:
        condition = {"type": "Failed" if failed else "Complete", "status": "True"}
        kube.edit("Job", namespace, name, {"status": {"conditions": [condition]}})
    return True
