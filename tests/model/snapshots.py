"""From the abstract cluster to the Snapshot that real decisions are made on."""

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from tests.model import legacy
from tests.model.planes import COLOURS, FINDINGS, NAME, NAMESPACE, UID, Plane
from tests.model.samples import tells_of_active
from tests.model.statuses import LATE, MOVED_VERSION, NOW, VERSION, Statuses
from tests.model.world import (
    ABSENT,
    ASTRAY,
    GONE,
    LEGACY,
    OUTDATED,
    OWNERS,
    PROVEN,
    WIDE,
    Cluster,
    Health,
    Pod,
    Service,
    Workload,
    covers,
)

from conductor.api import names
from conductor.api.status import Phase, ReleaseStatus
from conductor.domain import snapshot as real
from conductor.domain.manifests import service_ports
from conductor.domain.nodes import question
from conductor.domain.revision import narrow_selector, wide_selector
from conductor.observe.adopted import in_use, to_be_adopted

ANNOTATIONS = {
    "approve": names.ANNOTATION_APPROVE,
    "abort": names.ANNOTATION_ABORT,
    "rollback": names.ANNOTATION_ROLLBACK,
    "retry": names.ANNOTATION_RETRY,
}
ELSEWHERE = {"app": "something-else"}
JOB_STATES = {
    "inspect": "none",
    "expand": "expanded",
    "migrate": "migrated",
    "contract": "contracted",
    "backout": "backed-out",
}
_SAMPLED = NOW - timedelta(seconds=1)
_OLD_POD = LATE - timedelta(hours=1)


class Observer:
    """Reads abstract clusters of one plane."""

    def __init__(self, plane: Plane, statuses: Statuses) -> None:
        self._plane = plane
        self._statuses = statuses
        self._ports = {
            index: service_ports(plane.revisions[plane.bounds.letters[0]].spec.components[index].services[0])
            for index in plane.served
        }
        # Most states share most of their objects.
        self._objects = lru_cache(maxsize=None)(self._objects_of)
        self._serving = lru_cache(maxsize=None)(self._service_state)

    def snapshot(self, cluster: Cluster, status: ReleaseStatus | None = None) -> real.Snapshot:
        """What a pass would see now; `status` stands in for the stored one."""
        plane = self._plane
        status = status or self._statuses[cluster.status]
        switched_at = status.upgrade.switched_at if status.upgrade else None
        revisions = {plane.hash(letter): plane.revisions[letter] for letter in cluster.recorded}
        shown = {self._plane.letters[revision.hash] for revision in in_use(status, revisions)}
        workloads: list[real.Workload] = []
        pods: list[real.Pod] = []
        for workload in cluster.workloads:
            seen, its_pods = self._objects(workload, switched_at)
            # What a user made is found by its marks, and its pods by what is recorded of them.
            workloads += seen if workload.revision != LEGACY or workload.adopted else ()
            pods += its_pods if workload.revision != LEGACY or LEGACY in shown else ()
        spec = plane.read_spec(cluster.spec)
        plain = real.Snapshot(
            now=NOW,
            name=NAME,
            namespace=NAMESPACE,
            uid=UID,
            generation=1,
            resource_version=VERSION,
            annotations={ANNOTATIONS[command]: value for command, value in cluster.notes},
            deleting=False,
            finalizers=(),
            spec=spec,
            findings=() if spec is not None else FINDINGS,
            digest=plane.digest(cluster.spec),
            status=status,
            epoch=1,
            revisions=revisions,
            workloads=tuple(workloads),
            pods=tuple(pods),
            services=self._services(cluster),
            endpoints={
                plane.service_name(index): self._endpoints(cluster, index)
                for index in plane.served
                if cluster.services[index].selects != ABSENT
            },
            jobs={name: _job(name, state) for name, state in cluster.jobs},
            traffic_config_map=real.TrafficConfigMap(
                "mc-traffic", str(COLOURS[cluster.published]), VERSION, 1 if cluster.published_claimed else 0
            )
            if cluster.published
            else None,
            found=legacy.found(plane.bounds, cluster, NAME, plane.hash(LEGACY))
            if plane.bounds.legacy and to_be_adopted(spec, status)
            else None,
            health=self._health(cluster, status),
            silence=self._silence(cluster, status),
            probes=self._probes(cluster, status),
        )
        asked = question(plain)
        node = real.NodeState("node-1", follows=self._nodes_follow(cluster, status))
        return replace(plain, nodes=real.NodeSample(asked, _SAMPLED, usable=True, nodes=(node,)))

    def _nodes_follow(self, cluster: Cluster, status: ReleaseStatus) -> bool:
        """Whether no node sends anybody to the version that traffic is taken from."""
        upgrade = status.upgrade
        if upgrade is None:
            return True
        back = status.phase is Phase.ROLLING_BACK
        losing = self._plane.letters[upgrade.to_revision if back else upgrade.from_revision]
        return not any(service.routed in (losing, WIDE, OWNERS) for service in cluster.services)

    def _objects_of(
        self, workload: Workload, switched_at: Any
    ) -> tuple[tuple[real.Workload, ...], tuple[real.Pod, ...]]:
        plane = self._plane
        index, letter, colour = workload.component, workload.revision, workload.colour
        name = plane.deployment_name(index, letter, colour)
        common: dict[str, Any] = {
            "component": plane.parts[index].name,
            "colour": COLOURS[colour],
            "revision": plane.hash(letter),
        }
        pods = [
            real.Pod(
                name=plane.pod_name(index, letter, colour, pod.slot),
                uid=f"uid-{name}-{pod.slot}",
                ready=pod.ready,
                terminating=False,
                serving=pod.told,
                created_at=_created_at(pod, switched_at),
                waiting_reason="CrashLoopBackOff" if pod.ill else "",
                restarts=4 if pod.ill else 0,
                resource_version=VERSION,
                epoch=1 if pod.claimed else 0,
                **common,
            )
            for pod in workload.pods
        ]
        if workload.leaving:
            ending = plane.pod_name(index, letter, colour, 99)
            pods.append(
                real.Pod(
                    name=ending,
                    uid=f"uid-{ending}",
                    ready=True,
                    terminating=True,
                    serving=True,
                    created_at=_OLD_POD,
                    **common,
                )
            )
        if workload.replicas == GONE:
            return (), tuple(pods)
        ready = sum(pod.ready for pod in workload.pods)
        seen = real.Workload(
            name=name,
            replicas=workload.replicas,
            ready=ready,
            observed=True,
            resource_version=VERSION,
            epoch=1 if workload.claimed else 0,
            adopted=workload.adopted,
            paused=workload.paused,
            **common,
        )
        return (seen,), tuple(pods)

    def _services(self, cluster: Cluster) -> dict[str, real.ServiceState]:
        found = {}
        for index in self._plane.served:
            service = cluster.services[index]
            for state in self._serving(index, service._replace(listed="", routed="", proof=0)):
                found[state.name] = state
        return found

    def _service_state(self, index: int, service: Service) -> tuple[real.ServiceState, ...]:
        selects, ours, preview = service.selects, service.ours, service.preview
        name = self._plane.service_name(index)
        states = []
        if selects != ABSENT:
            states.append(
                real.ServiceState(
                    name=name,
                    release=NAME if ours else "",
                    selector=self.selector(index, selects),
                    ports=self._ports[index],
                    resource_version=MOVED_VERSION if service.moved else VERSION,
                    epoch=1 if service.claimed else 0,
                    cluster_ip="10.0.0.1",
                    role=names.ROLE_SERVING if ours else "",
                    managers=(names.FIELD_MANAGER,)
                    if service.owned and not self._plane.bounds.legacy
                    else (names.FIELD_MANAGER, "kubectl-edit"),
                )
            )
        if preview != ABSENT:
            states.append(
                real.ServiceState(
                    name=names.preview_name(name),
                    release=NAME,
                    selector=narrow_selector(NAME, self._plane.parts[index].name, self._plane.hash(preview)),
                    ports=self._ports[index],
                    resource_version=VERSION,
                    epoch=-1,
                    cluster_ip="10.0.0.2",
                    role=names.ROLE_PREVIEW,
                )
            )
        return tuple(states)

    def selector(self, index: int, target: str) -> dict[str, str]:
        """A target as a real selector."""
        part = self._plane.parts[index]
        component = part.name
        if target == ASTRAY:
            return ELSEWHERE
        if self._plane.bounds.legacy and target != WIDE:
            plain = {} if target == OWNERS else narrow_selector(NAME, component, self._plane.hash(target))
            return legacy.selector(part, target, plain)
        if target == WIDE:
            return wide_selector(NAME, component)
        return narrow_selector(NAME, component, self._plane.hash(target))

    def _endpoints(self, cluster: Cluster, index: int) -> tuple[real.Endpoint, ...]:
        listed = cluster.services[index].listed
        plane = self._plane
        return tuple(
            real.Endpoint(plane.pod_name(index, workload.revision, workload.colour, pod.slot), pod.ready)
            for workload in cluster.workloads
            if workload.component == index
            for pod in workload.pods
            if covers(listed, workload, pod)
        )

    def _health(self, cluster: Cluster, status: ReleaseStatus) -> real.HealthSample | None:
        upgrade, health = status.upgrade, cluster.health
        if upgrade is None or health == Health.NONE:
            return None
        asked, other = upgrade.to_revision, upgrade.from_revision
        if tells_of_active(self._plane.bounds, status):
            asked, other = other, asked
        revision = other if health == Health.FORMER else asked
        at = LATE if health == Health.OLD else _SAMPLED
        if health == Health.ERROR:
            return real.HealthSample(revision, at, error="connection refused")
        if health == Health.NO_DATA:
            return real.HealthSample(revision, at)
        return real.HealthSample(
            revision, at, requests=1000, errors=50 if health == Health.BAD else 0, p95_ms=20
        )

    def _silence(self, cluster: Cluster, status: ReleaseStatus) -> real.SilenceSample | None:
        upgrade, health = status.upgrade, cluster.health
        if upgrade is None or status.phase is not Phase.CLOSING or health == Health.NONE:
            return None
        if health == Health.ERROR:
            return real.SilenceSample(upgrade.from_revision, _SAMPLED, error="connection refused")
        counts: dict[str, float | None] = {}
        for workload in cluster.workloads:
            if self._plane.hash(workload.revision) != upgrade.from_revision:
                continue
            place = (workload.component, workload.revision, workload.colour)
            for pod in workload.pods:
                noise = None if health == Health.NO_DATA else float(hears(cluster, workload, pod))
                counts[self._plane.pod_name(*place, pod.slot)] = noise
            if workload.leaving:
                counts[self._plane.pod_name(*place, 99)] = 1.0
        at = LATE if health == Health.OLD else _SAMPLED
        return real.SilenceSample(upgrade.from_revision, at, counts)

    def _probes(self, cluster: Cluster, status: ReleaseStatus) -> dict[str, real.ProbeSample]:
        upgrade = status.upgrade
        if upgrade is None:
            return {}
        found = {}
        for index in self._plane.served:
            service = cluster.services[index]
            name = self._plane.service_name(index)
            if cluster.preview and status.phase is Phase.VERIFYING:
                target = names.preview_name(name)
                failed = 60 if cluster.preview == "bad" else 0
                found[target] = real.ProbeSample(
                    target, NOW, upgrade.phase_started_at, sent=100, failed=failed, matched_in_a_row=40
                )
            if service.proof in (OUTDATED, PROVEN) and upgrade.switched_at is not None:
                before = timedelta(minutes=1 if service.proof == OUTDATED else 0)
                since = upgrade.switched_at - before
                found[name] = real.ProbeSample(name, NOW, since, sent=40, matched_in_a_row=40)
        return found


def hears(cluster: Cluster, workload: Workload, pod: Pod) -> bool:
    """Whether users reach this pod: over a connection that they hold, or because nodes still send them to it."""
    service: Service = cluster.services[workload.component]
    return pod.met or (pod.ready and covers(service.routed, workload, pod))


def _created_at(pod: Pod, switched_at: Any) -> Any:
    if switched_at is None:
        return NOW - timedelta(seconds=1) if pod.young else _OLD_POD
    if pod.after:
        return NOW - timedelta(seconds=1) if pod.young and switched_at == LATE else switched_at
    return switched_at - timedelta(seconds=1) if pod.young else min(_OLD_POD, switched_at)


def _job(name: str, state: str) -> real.JobState:
    verb = name.split("-")[-2]
    if state == "running":
        return real.JobState(name, succeeded=False, failed=False)
    if state == "well":
        return real.JobState(
            name, succeeded=True, failed=False, answer={"state": JOB_STATES[verb]}, exit_code=0
        )
    if state == "silent":
        return real.JobState(name, succeeded=True, failed=False, answer=None, exit_code=0)
    return real.JobState(name, succeeded=False, failed=True, message="failed", exit_code=int(state))
