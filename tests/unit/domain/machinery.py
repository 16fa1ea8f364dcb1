"""What a cluster does by itself, on a MemoryKube: Deployments make pods, pods come up or do not, Jobs end.

Nothing happens in the background: `settle` does what controllers do at once (pods appear and are
told to go), `tick` does what takes time (pods become ready, drain, Jobs end). Misbehaviour is
scripted by image, Jobs by verb.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.unit.domain.data_plane import taking
from tests.unit.domain.jobs import Podless, Pulling, Stuck, pull
from tests.unit.domain.kubelet_events import failed, state_of
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import Object
from conductor.api import names

READY_AFTER = timedelta(seconds=3)
DRAIN = timedelta(seconds=2)
JOB_TAKES = timedelta(seconds=2)
#: More than ever passes between two ticks of a story.
_PASS = timedelta(minutes=1)
STATES = {
    "inspect": "none",
    "expand": "expanded",
    "migrate": "migrated",
    "contract": "contracted",
    "backout": "backed-out",
}


@dataclass(frozen=True)
class Behaviour:
    """How pods of one image behave from now on."""

    ready: bool = True
    waiting: str = ""
    #: How long the first pull takes before that.
    pulls_for: timedelta = timedelta(0)
    restarts: int = 0
    unschedulable: str = ""
    died_of: str = ""
    #: Until when their container ran, where it did.
    ended_at: datetime | None = None
    #: When they were given their node, where that was long after they were made.
    placed_at: datetime | None = None
    #: Its node ends it, for this reason.
    evicted: str = ""
    #: What the API server says instead of taking a pod of it.
    refused: str = ""

    def end(self) -> Object:
        """How their container ended last."""
        at = self.ended_at.strftime("%Y-%m-%dT%H:%M:%SZ") if self.ended_at is not None else None
        return {"reason": self.died_of, **({"finishedAt": at} if at else {})}


@dataclass
class Machinery:
    """Controllers, scheduler, kubelet."""

    kube: MemoryKube
    namespace: str
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    #: Answers of Jobs by verb, one for each attempt; the last one stays. None: the Job never ends. A member
    #: `exitCode` is the container's; `silent`: its pod was ended before it could say anything.
    jobs: dict[str, list[Mapping[str, Any] | Stuck | Podless | None]] = field(default_factory=dict)
    #: How Jobs end that bring images onto nodes, by component.
    pulling: dict[str, Pulling] = field(default_factory=dict)
    #: How many pods an autoscaler of ours finds right for an image's load; where nothing is said it has no metrics.
    demand: dict[str, int] = field(default_factory=dict)
    #: Pods that stay ready whatever their image does.
    stays_ready: set[str] = field(default_factory=set)
    #: When things were first met, for those that the API server dates otherwise: its clock jumped.
    _met: dict[str, datetime] = field(default_factory=dict)
    #: Pods that nobody ends: their node is dead.
    unending: set[str] = field(default_factory=set)
    #: Whether a Gateway's controller takes in routes; else it is away.
    gateway_runs: bool = True
    #: What it says against rules that ask for headers, where its data plane does not know them.
    gateway_refuses_headers: str = ""
    _made: int = 0
    _followed_at: int = -1
    _listed_at: int = -1

    def settle(self) -> None:
        """Pods and endpoints follow Deployments and Services."""
        self._follow()
        self._endpoints()
        self._gateway()

    def tick(self, now: datetime) -> None:
        """Time has passed until `now`."""
        self._autoscale()
        self._follow()
        for pod in self.kube.list("Pod", self.namespace):
            job = pod["metadata"].get("job")
            if job is None:
                self._kubelet(pod, now)
            elif self.kube.get("Job", self.namespace, job) is None:
                self.kube.drop("Pod", self.namespace, pod["metadata"]["name"])
        for job in self.kube.list("Job", self.namespace):
            self._job(job, now)
        for deployment in self.kube.list("Deployment", self.namespace):
            ready = sum(is_ready(pod) for pod in self.pods_of(deployment))
            generation = deployment["metadata"]["generation"]
            counts = dict.fromkeys(("replicas", "updatedReplicas"), len(self.pods_of(deployment)))
            status: Object = {"status": {"readyReplicas": ready, "observedGeneration": generation, **counts}}
            status["status"] |= self._said_of(deployment, now)
            if deployment.get("status") != status["status"]:
                self.kube.edit("Deployment", self.namespace, deployment["metadata"]["name"], status)
        self._endpoints()
        self._gateway()

    def _follow(self) -> None:
        moved_at = self.kube.moved_at("Deployment", "Pod")
        if moved_at == self._followed_at:
            return
        for deployment in self.kube.list("Deployment", self.namespace):
            self._scale(deployment)
        for pod in self.kube.list("Pod", self.namespace):
            owner = pod["metadata"].get("owner")
            if owner and self.kube.get("Deployment", self.namespace, owner) is None:
                self._end(pod)
        self._followed_at = moved_at

    def _autoscale(self) -> None:
        """As Kubernetes' own controller: bounds first, then what the load asks for, as far as the policies let it."""
        for scaler in self.kube.list("HorizontalPodAutoscaler", self.namespace):
            spec, name = scaler["spec"], scaler["spec"]["scaleTargetRef"]["name"]
            deployment = self.kube.get("Deployment", self.namespace, name)
            if deployment is None or not deployment["spec"]["replicas"]:
                continue
            now = deployment["spec"]["replicas"]
            least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
            image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
            wanted = max(least, min(most, now))
            if wanted == now and image in self.demand:
                wanted = max(least, min(most, self.demand[image]))
                rules = (spec.get("behavior") or {}).get("scaleUp" if wanted > now else "scaleDown") or {}
                wanted = now if rules.get("selectPolicy") == "Disabled" else wanted
            if wanted != now:
                self.kube.edit("Deployment", self.namespace, name, {"spec": {"replicas": wanted}})
            if (scaler.get("status") or {}).get("desiredReplicas") != wanted:
                status = {"status": {"desiredReplicas": wanted}}
                self.kube.edit("HorizontalPodAutoscaler", self.namespace, scaler["metadata"]["name"], status)

    def pods_of(self, deployment: Object) -> list[Object]:
        """Pods of a Deployment that are not on their way out."""
        return [
            pod
            for pod in self.kube.list("Pod", self.namespace)
            if pod["metadata"].get("owner") == deployment["metadata"]["name"] and not going(pod)
            if (pod.get("status") or {}).get("phase") != "Failed"
        ]

    def _said_of(self, deployment: Object, now: datetime) -> Object:
        """The condition of a Deployment of which no pods are taken, since it was first met."""
        refused = self._behaviour(deployment["spec"]["template"]["spec"]).refused
        name = f"refused {deployment['metadata']['name']}"
        if not refused or len(self.pods_of(deployment)) >= deployment["spec"]["replicas"]:
            self._met.pop(name, None)
            return {"conditions": []} if "conditions" in (deployment.get("status") or {}) else {}
        since = self._met.setdefault(name, now).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
        return {"conditions": [{**condition, "message": refused, "lastTransitionTime": since}]}

    def _behaviour(self, pod_spec: Object) -> Behaviour:
        return self.behaviours.get(pod_spec["containers"][0]["image"], Behaviour())

    def unlabelled_pods(self) -> list[Object]:
        """Pods of Deployments that others made."""
        pods = self.kube.list("Pod", self.namespace)
        return [
            pod for pod in pods if pod["metadata"].get("owner") and not revision_of(pod) and not going(pod)
        ]

    def selected(self, service: Object) -> list[Object]:
        """Ready pods that a Service selects, terminating ones left out."""
        selector = service["spec"].get("selector") or {}
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        found = self.kube.list("Pod", self.namespace, labels) if selector else []
        return [pod for pod in found if is_ready(pod) and not going(pod)]

    def _scale(self, deployment: Object) -> None:
        present = self.pods_of(deployment)
        wanted = deployment["spec"]["replicas"]
        refused = self._behaviour(deployment["spec"]["template"]["spec"]).refused
        for _ in range(0 if refused else wanted - len(present)):
            self._made += 1
            name = f"{deployment['metadata']['name']}-{self._made:03d}"
            template = deployment["spec"]["template"]
            metadata = {
                "name": name,
                "labels": {**template["metadata"]["labels"], **template_hash(deployment)},
                "owner": deployment["metadata"]["name"],
            }
            self.kube.put(
                "Pod", self.namespace, {"kind": "Pod", "metadata": metadata, "spec": template["spec"]}
            )
        # A ReplicaSet removes unready pods first, then the youngest.
        doomed = sorted(present, key=lambda pod: (not is_ready(pod), pod["metadata"]["name"]), reverse=True)
        for pod in doomed[: max(0, len(present) - wanted)]:
            self._end(pod)

    def _end(self, pod: Object) -> None:
        if not going(pod):
            told = {"metadata": {"deletionTimestamp": self.kube.stamp()}}
            self.kube.edit("Pod", self.namespace, pod["metadata"]["name"], told)

    def _age(self, item: Object, now: datetime) -> timedelta:
        """Kubelets and containers measure with clocks of their own, which do not jump."""
        met = self._met.setdefault(item["metadata"]["uid"], now)
        created = datetime.fromisoformat(item["metadata"]["creationTimestamp"])
        return now - (created if met - _PASS <= created <= met else met)

    def _kubelet(self, pod: Object, now: datetime) -> None:
        name = pod["metadata"]["name"]
        if going(pod) and name in self.unending:
            return
        if going(pod):
            ending = pod["metadata"].get("endingSince")
            if ending is None:
                since = {"metadata": {"endingSince": now.isoformat()}}
                self.kube.edit("Pod", self.namespace, name, since)
            elif now - datetime.fromisoformat(ending) >= DRAIN:
                self.kube.drop("Pod", self.namespace, name)
            return
        if (pod.get("status") or {}).get("phase") == "Failed":
            return
        image = pod["spec"]["containers"][0]["image"]
        behaviour = Behaviour() if name in self.stays_ready else self._behaviour(pod["spec"])
        if behaviour.evicted:
            ended = {"phase": "Failed", "reason": behaviour.evicted, "message": "as scripted"}
            self.kube.edit("Pod", self.namespace, name, {"status": {**ended, "conditions": []}})
            return
        up = behaviour.ready and not behaviour.waiting and not behaviour.unschedulable
        ready = up and self._age(pod, now) >= READY_AFTER
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        if behaviour.unschedulable:
            unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            conditions.append({**unscheduled, "message": behaviour.unschedulable})
        if behaviour.placed_at is not None:
            placed = behaviour.placed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": placed})
        named = pod["spec"]["containers"][0]["name"]
        state = state_of(behaviour.waiting, pulls=self._age(pod, now) < behaviour.pulls_for)
        container = {"name": named, "image": image, "state": state, "restartCount": behaviour.restarts}
        failed(self.kube, self.namespace, name, container)
        if behaviour.died_of:
            container["lastState"] = {"terminated": behaviour.end()}
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
        if pod.get("status") != status:
            self.kube.edit("Pod", self.namespace, name, {"status": status})

    def _job(self, job: Object, now: datetime) -> None:
        if job.get("status"):
            return
        name = job["metadata"]["name"]
        if pull(self.kube, self.namespace, job, self._age(job, now), self.pulling):
            return
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        verb, attempt = arguments[0], int(arguments[arguments.index("--attempt") + 1])
        answers = self.jobs.get(verb, [{"state": STATES[verb], "message": f"{verb} is done"}])
        answer = answers[min(attempt, len(answers)) - 1]
        if isinstance(answer, Podless):
            event = {"reason": "FailedCreate", "note": answer.said, "metadata": {"name": f"{name}.1"}}
            if self.kube.get("Event", self.namespace, f"{name}.1") is None:
                self.kube.put("Event", self.namespace, event | {"regarding": {"kind": "Job", "name": name}})
            return
        if isinstance(answer, Stuck):
            self._job_pod(job, {"waiting": {"reason": answer.waiting, "message": "as scripted"}})
            return
        if answer is None or self._age(job, now) < JOB_TAKES:
            self._job_pod(job, {"running": {}})
            return
        said = {key: value for key, value in answer.items() if key != "exitCode"}
        failed = answer.get("state") == "failed" or answer.get("silent")
        ended: Object = {} if answer.get("silent") else {"message": json.dumps({"verb": verb, **said})}
        if "exitCode" in answer:
            ended["exitCode"] = answer["exitCode"]
        self._job_pod(job, {"terminated": ended})
        condition = {"type": "Failed" if failed else "Complete", "status": "True"}
        self.kube.edit("Job", self.namespace, name, {"status": {"conditions": [condition]}})

    def _job_pod(self, job: Object, state: Object) -> None:
        name = job["metadata"]["name"]
        labels = {**job["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        found = self.kube.get("Pod", self.namespace, f"{name}-x")
        status: Object = {"containerStatuses": [{"state": state}]}
        if "running" in state:
            status |= {"phase": "Running", "podIP": "10.0.0.9"}
        if found is None or found["status"] != status:
            pod = {
                "kind": "Pod",
                "metadata": {"name": f"{name}-x", "labels": labels, "job": name},
                "status": status,
            }
            self.kube.put("Pod", self.namespace, pod)

    def _endpoints(self) -> None:
        moved_at = self.kube.moved_at("Service", "Pod", "EndpointSlice")
        if moved_at == self._listed_at:
            return
        for service in self.kube.list("Service", self.namespace):
            name = service["metadata"]["name"]
            endpoints = [
                {"targetRef": {"name": pod["metadata"]["name"]}, "conditions": {"ready": True}}
                for pod in self.selected(service)
            ]
            labels = {**(service["metadata"].get("labels") or {}), "kubernetes.io/service-name": name}
            item: Object = {"metadata": {"name": f"{name}-1", "labels": labels}, "endpoints": endpoints}
            self.kube.put("EndpointSlice", self.namespace, item)
        live = {service["metadata"]["name"] for service in self.kube.list("Service", self.namespace)}
        for item in self.kube.list("EndpointSlice", self.namespace):
            if item["metadata"]["labels"]["kubernetes.io/service-name"] not in live:
                self.kube.drop("EndpointSlice", self.namespace, item["metadata"]["name"])
        self._listed_at = self.kube.moved_at("Service", "Pod", "EndpointSlice")

    def _gateway(self) -> None:
        """The controller of the one Gateway says of every route what it took in."""
        for route in self.kube.list("HTTPRoute", self.namespace) if self.gateway_runs else []:
            generation = route["metadata"]["generation"]
            backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
            resolved = all(
                self.kube.get("Service", self.namespace, backend["name"]) is not None for backend in backends
            )
            said = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
            if not resolved:
                said["ResolvedRefs"] = ("False", "BackendNotFound")
            matches = [match for rule in route["spec"]["rules"] for match in rule.get("matches") or []]
            if self.gateway_refuses_headers and any(match.get("headers") for match in matches):
                said["Accepted"] = ("False", self.gateway_refuses_headers)
            conditions = [
                {"type": type_, "status": status, "reason": reason, "observedGeneration": generation}
                for type_, (status, reason) in said.items()
            ]
            status = {"parents": [{"parentRef": {"name": "edge"}, "conditions": conditions}]}
            if route.get("status") != status:
                self.kube.edit("HTTPRoute", self.namespace, route["metadata"]["name"], {"status": status})

    def led(self, route: Object, **headers: str) -> dict[str, int]:
        """What share of a route's users each revision gets, in percent; where no pod is ready, under no name.

        Of those who send these headers and no others, with _ for a dash.
        """
        shares: dict[str, int] = {}
        for rule in taking(route, {name.replace("_", "-").lower(): value for name, value in headers.items()}):
            whole = sum(backend.get("weight", 1) for backend in rule["backendRefs"])
            for backend in rule["backendRefs"]:
                service = self.kube.get("Service", self.namespace, backend["name"])
                revisions = {revision_of(pod) for pod in self.selected(service)} if service else set()
                name = revisions.pop() if len(revisions) == 1 else "several" if revisions else ""
                if part := 100 * backend.get("weight", 1) // whole if whole else 0:
                    shares[name] = max(shares.get(name, 0), part)
        return shares


def template_hash(deployment: Object) -> dict[str, str]:
    """The label by which pods of one template are told from those of another."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return {names.LABEL_POD_TEMPLATE_HASH: hashlib.sha256(text.encode()).hexdigest()[:9]}


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def going(pod: Object) -> bool:
    """Whether the pod is terminating."""
    return "deletionTimestamp" in pod["metadata"]


def revision_of(pod: Object) -> str:
    """The revision that a pod or Deployment belongs to; empty for what others made."""
    return str((pod["metadata"].get("labels") or {}).get(names.LABEL_REVISION, ""))


def component_of(deployment: Object) -> str:
    """The component that a Deployment is of, or its name where others made it."""
    metadata = deployment["metadata"]
    return str((metadata.get("labels") or {}).get(names.LABEL_COMPONENT, metadata["name"]))
