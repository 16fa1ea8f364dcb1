"""What everybody else does: controllers, nodes, users, Prometheus, Jobs, people and time, fairly or not."""

from collections.abc import Iterator

from tests.model import bounds as kinds
from tests.model.passes import Operator
from tests.model.samples import tells_of_active, told
from tests.model.world import (
    ABSENT,
    ASTRAY,
    GONE,
    OWNERS,
    PODS_SUFFERED,
    PROVEN,
    RELEASE,
    Cluster,
    Health,
    Pod,
    Service,
    Workload,
    covers,
    ready_behind,
    with_service,
    with_workload,
)
from tests.model.writes import with_pod

from conductor.api.status import Phase, ReleaseStatus
from conductor.domain.phases.migration import KEEP_EXPANDED
from conductor.domain.phases.rollback import STAY

#: A change of the cluster in words, and what moved beside what can be seen to have moved.
Change = tuple[str, Cluster, frozenset[str]]
#: Fair moves of the clock: proxies and holds are over, or every patience is.
SECONDS_PASS, HOURS_PASS = "seconds pass", "hours pass"
#: Marks of time.
SECONDS, HOURS = "seconds", "hours"
_FORCED_IN = frozenset({Phase.STABLE, Phase.SOAKING, Phase.CLOSING})
_NOTHING: frozenset[str] = frozenset()
_RELEASE_MOVED = frozenset({RELEASE})
_SUFFERED = frozenset({PODS_SUFFERED})


class Environment:
    """Moves of one configuration's environment."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._bounds = operator.bounds
        self._plane = operator.plane

    def fair(self, cluster: Cluster, pending: int | None = None) -> Iterator[Change]:
        """What happens sooner or later in a cluster that works, and what people do in the end.

        `pending` is the number of a status that was decided and not written: time passes for it too.
        """
        yield from self._pods(cluster)
        yield from self._nodes(cluster)
        yield from self._samples(cluster)
        for name, state in cluster.jobs:
            if state == "running":
                yield f"Job {name} ends well", _job(cluster, name, "well"), _NOTHING
        yield from self._time(cluster, cluster.status if pending is None else pending)
        yield from self._people(cluster)

    def disturbances(self, cluster: Cluster, spent: tuple[int, ...]) -> Iterator[tuple[str, Change]]:
        """What the configuration allows to go wrong, with its kind."""
        sources = {
            kinds.POD: self._suffering,
            kinds.HEALTH: self._bad_samples,
            kinds.JOB: self._bad_jobs,
            kinds.SPEC: self._wishes,
            kinds.COMMAND: self._commands,
            kinds.DIVERT: self._diversions,
        }
        for kind, source in sources.items():
            if self._bounds.may(kind, spent):
                for change in source(cluster):
                    yield kind, change

    # fair

    def _pods(self, cluster: Cluster) -> Iterator[Change]:
        upgrade = self._operator.upgrade(cluster)
        switched = upgrade is not None and upgrade.switched_at is not None
        for workload in cluster.workloads:
            name = self._name(workload)
            if workload.replicas not in (GONE, len(workload.pods)) and not _behind(cluster, workload):
                new = followed(workload, switched)
                yield f"ReplicaSet of {name} follows", with_workload(cluster, new), _NOTHING
            for pod in workload.pods:
                if not pod.ready and not pod.ill:
                    ready = with_pod(workload, pod._replace(ready=True, young=False))
                    yield f"pod {pod.slot} of {name} is ready", with_workload(cluster, ready), _NOTHING
            if workload.leaving:
                ended = workload._replace(leaving=False)
                yield f"ending pods of {name} are gone", with_workload(cluster, ended), _NOTHING
            target = cluster.services[workload.component].routed
            if any(pod.met and not covers(target, workload, pod) for pod in workload.pods):
                quiet = workload._replace(pods=tuple(pod._replace(met=False) for pod in workload.pods))
                yield f"users leave {name}", with_workload(cluster, quiet), _NOTHING

    def _nodes(self, cluster: Cluster) -> Iterator[Change]:
        for index in self._plane.served:
            service, name = cluster.services[index], self._plane.service_name(index)
            if service.listed != service.selects:
                new = service._replace(listed=service.selects)
                yield f"EndpointSlices of {name} follow", with_service(cluster, index, new), _NOTHING
            if service.routed != service.listed:
                new = service._replace(routed=service.listed)
                yield f"nodes follow for {name}", with_service(cluster, index, new), _NOTHING

    def _samples(self, cluster: Cluster) -> Iterator[Change]:
        status = self._operator.status(cluster)
        upgrade, phase = status.upgrade, status.phase
        if upgrade is None:
            return
        to = self._operator.letter(upgrade.to_revision)
        if told(self._bounds, status) and cluster.health not in (Health.GOOD, Health.BAD):
            yield f"Prometheus{self._of(status)}: Healthy", cluster._replace(health=Health.GOOD), _NOTHING
        if phase is Phase.VERIFYING and not cluster.preview and self._previewed(cluster, to):
            yield "the candidate answers our requests", cluster._replace(preview="good"), _NOTHING
        if phase is Phase.SWITCHING and upgrade.switched_at is not None:
            for index in self._plane.served:
                service = cluster.services[index]
                if service.proof != PROVEN and service.routed == to and ready_behind(cluster, index, to):
                    new = service._replace(proof=PROVEN)
                    name = self._plane.service_name(index)
                    yield f"{name} answers with {to}", with_service(cluster, index, new), _NOTHING

    def _of(self, status: ReleaseStatus) -> str:
        return ", of what serves" if tells_of_active(self._bounds, status) else ""

    def _previewed(self, cluster: Cluster, to: str) -> bool:
        return all(
            cluster.services[index].preview == to and ready_behind(cluster, index, to)
            for index in self._plane.served
        )

    def _time(self, cluster: Cluster, pending: int) -> Iterator[Change]:
        statuses = self._operator.statuses
        settled = statuses.aged(cluster.status, late=False)
        if settled != cluster.status or statuses.aged(pending, late=False) != pending:
            yield SECONDS_PASS, cluster._replace(status=settled), frozenset({SECONDS})
        late = cluster._replace(status=statuses.aged(cluster.status, late=True))
        for workload in cluster.workloads:
            if any(pod.young for pod in workload.pods):
                old = tuple(pod._replace(young=False) for pod in workload.pods)
                late = with_workload(late, workload._replace(pods=old))
        if late != cluster or statuses.aged(pending, late=True) != pending:
            yield HOURS_PASS, late, frozenset({HOURS})

    def _people(self, cluster: Cluster) -> Iterator[Change]:
        status = self._operator.status(cluster)
        if "p" in cluster.spec:
            yield "a person unpauses", cluster._replace(spec=cluster.spec.replace("p", "")), _RELEASE_MOVED
        if self._bounds.approvals and status.upgrade is not None:
            step = {Phase.VERIFYING: "switch", Phase.SOAKING: "contract"}.get(status.phase)
            given = dict(cluster.notes).get("approve", "")
            if step is not None and f"{status.upgrade.id}/{step}" not in given:
                value = f"{given},{status.upgrade.id}/{step}".strip(",")
                yield f"a person approves {step}", noted(cluster, "approve", value), _RELEASE_MOVED

    # unfair

    def _suffering(self, cluster: Cluster) -> Iterator[Change]:
        for workload in cluster.workloads:
            name = self._name(workload)
            for pod in workload.pods:
                left = tuple(other for other in workload.pods if other.slot != pod.slot)
                evicted = workload._replace(pods=left, leaving=True)
                yield f"pod {pod.slot} of {name} is evicted", with_workload(cluster, evicted), _SUFFERED
                if pod.ready:
                    lost = with_pod(workload, pod._replace(ready=False, young=False))
                    told = f"pod {pod.slot} of {name} is not ready any more"
                    yield told, with_workload(cluster, lost), _SUFFERED
                if not pod.ill:
                    ill = with_pod(workload, pod._replace(ready=False, ill=True, young=False))
                    yield f"pod {pod.slot} of {name} crash-loops", with_workload(cluster, ill), _SUFFERED

    def _bad_samples(self, cluster: Cluster) -> Iterator[Change]:
        status = self._operator.status(cluster)
        if told(self._bounds, status):
            for health in self._bounds.healths:
                if health != cluster.health:
                    words = f"Prometheus{self._of(status)}: {Health.NAMES[health]}"
                    yield words, cluster._replace(health=health), _NOTHING
        if status.phase is Phase.VERIFYING and cluster.preview != "bad":
            yield "the candidate fails our requests", cluster._replace(preview="bad"), _NOTHING

    def _bad_jobs(self, cluster: Cluster) -> Iterator[Change]:
        for name, state in cluster.jobs:
            if state == "running":
                for code in ("1", "2"):
                    yield f"Job {name} fails with exit {code}", _job(cluster, name, code), _NOTHING
                yield f"Job {name} ends without an answer", _job(cluster, name, "silent"), _NOTHING
            left = tuple(job for job in cluster.jobs if job[0] != name)
            yield f"Job {name} ({state}) vanishes", cluster._replace(jobs=left), _NOTHING

    def _wishes(self, cluster: Cluster) -> Iterator[Change]:
        for wish in self._bounds.wishes:
            if wish != cluster.spec:
                yield f"spec becomes {wish}", cluster._replace(spec=wish), _RELEASE_MOVED

    def _commands(self, cluster: Cluster) -> Iterator[Change]:
        status = self._operator.status(cluster)
        wanted: list[tuple[str, str]] = []
        if status.upgrade is not None:
            id_, attempt = status.upgrade.id, status.upgrade.attempt
            wanted += [("abort", id_), ("rollback", id_), ("approve", f"{id_}/{STAY}")]
            if status.upgrade.expanded:
                wanted.append(("approve", f"{id_}/{KEEP_EXPANDED}"))
            verb = {Phase.CONTRACTING: "contract", Phase.BACKING_OUT: "backout"}.get(status.phase)
            if verb is not None:
                wanted.append(("retry", f"{id_}/{verb}/{attempt}"))
        elif status.last_upgrade is not None:
            wanted += [("retry", status.last_upgrade.id), ("rollback", status.last_upgrade.id)]
        pending = status.pending_contract
        if pending is not None:
            wanted.append(("approve", f"{pending.id}/contract"))
            wanted.append(("retry", f"{pending.id}/contract/{pending.attempt}"))
        left = status.pending_backout
        if left is not None:
            wanted.append(("approve", f"{left.id}/backout"))
            wanted.append(("retry", f"{left.id}/backout/{left.attempt}"))
        for command, value in wanted:
            if (command, value) not in cluster.notes:
                yield f"a person annotates {command}={value}", noted(cluster, command, value), _RELEASE_MOVED

    def _diversions(self, cluster: Cluster) -> Iterator[Change]:
        running = {workload.revision for workload in cluster.workloads if workload.pods}
        for index in self._plane.served:
            service, name = cluster.services[index], self._plane.service_name(index)
            if service.selects == ABSENT or not service.ours:
                continue
            for target in (ASTRAY, *sorted(running)):
                if target != service.selects:
                    pointed = service._replace(selects=target, moved=True, owned=False)
                    new = with_service(cluster, index, pointed)
                    marks = frozenset({f"diverted/{index}"})
                    yield f"somebody points {name} at {target}", new, marks
            deleted = with_service(cluster, index, Service(preview=service.preview))
            yield f"somebody deletes {name}", deleted, frozenset({f"diverted/{index}"})
        yield from self._owners_manifests(cluster)

    def _owners_manifests(self, cluster: Cluster) -> Iterator[Change]:
        """What a user wrote before there was a release is applied again."""
        if not self._bounds.legacy:
            return
        # docs/model.md, "What it has found": earlier than that, a forced selector is not always answered as it should.
        answered = self._operator.status(cluster).phase in _FORCED_IN
        for index in self._plane.served if answered else ():
            service, name = cluster.services[index], self._plane.service_name(index)
            if service.ours and service.selects not in (ABSENT, OWNERS):
                forced = service._replace(selects=OWNERS, moved=True, owned=False)
                words = f"the owner's manifest is forced upon {name}"
                yield words, with_service(cluster, index, forced), frozenset({f"diverted/{index}"})
        for workload in cluster.workloads:
            if not workload.adopted:
                continue
            name = self._name(workload)
            size = self._plane.parts[workload.component].replicas
            if workload.replicas != size:
                again = workload._replace(replicas=size)
                yield f"the manifest of {name} is applied again", with_workload(cluster, again), _NOTHING
            if workload.paused:
                resumed = workload._replace(paused=False)
                yield f"somebody resumes rollouts of {name}", with_workload(cluster, resumed), _NOTHING

    def _name(self, workload: Workload) -> str:
        return f"{self._plane.parts[workload.component].name} {workload.revision}"


def followed(workload: Workload, switched: bool) -> Workload:
    """The Deployment once its ReplicaSet did what its size asks for."""
    missing = workload.replicas - len(workload.pods)
    if missing > 0:
        taken = {pod.slot for pod in workload.pods}
        free = [slot for slot in range(workload.replicas + len(taken)) if slot not in taken]
        new = tuple(Pod(slot, after=switched) for slot in free[:missing])
        return workload._replace(pods=tuple(sorted((*workload.pods, *new))))
    # A ReplicaSet removes pods that are not ready first, then the youngest.
    stay = sorted(workload.pods, key=lambda pod: (not pod.ready, pod.after, pod.slot))[: workload.replicas]
    return workload._replace(pods=tuple(sorted(stay)), leaving=True)


def _behind(cluster: Cluster, workload: Workload) -> bool:
    """What still follows the owner's own selector holds pods that were there, and none that come only now."""
    service = cluster.services[workload.component]
    return service.selects != OWNERS and OWNERS in (service.listed, service.routed)


def noted(cluster: Cluster, command: str, value: str) -> Cluster:
    """The cluster with that annotation on the release."""
    return cluster._replace(notes=tuple(sorted({**dict(cluster.notes), command: value}.items())))


def _job(cluster: Cluster, name: str, state: str) -> Cluster:
    jobs = tuple((known, state if known == name else was) for known, was in cluster.jobs)
    return cluster._replace(jobs=jobs)
