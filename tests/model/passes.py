"""The operator in the model: the real determine and plan on a snapshot, and what a pass makes of the cluster."""

from typing import NamedTuple

from tests.model.bounds import Bounds
from tests.model.planes import Plane
from tests.model.samples import OF_CANDIDATE, tells_of_active, told
from tests.model.snapshots import Observer
from tests.model.statuses import NOW, Statuses
from tests.model.translation import Translator
from tests.model.world import (
    ABSENT,
    CONFIG_MAP,
    GONE,
    OUTDATED,
    PODS_SUFFERED,
    PROVEN,
    RELEASE,
    UNPROVEN,
    Cluster,
    Health,
    Pod,
    Service,
    Workload,
    Write,
    covers,
    service_key,
    with_service,
)
from tests.model.writes import Api

from conductor.api.reasons import Reason
from conductor.api.status import Phase, ReleaseStatus, UpgradeStatus
from conductor.domain import determine as deciding
from conductor.domain import plan as planning
from conductor.domain.plan import Plan
from conductor.domain.situation import Rejecting, Situation, Waiting
from conductor.domain.snapshot import Snapshot

#: Ends of a release without an upgrade under way.
_AT_REST = {
    Reason.STABLE: "Stable",
    Reason.CONTRACT_PENDING: "Stable, a contract step pending",
    Reason.SESSIONS_UNPROVEN: "Stable, a contract step pending",
    Reason.BACKOUT_PENDING: "Stable, an expanded schema stays",
    Reason.ACTIVE_NOT_SERVING: "Stable, and said not to serve",
}
_LOSING_HEARS = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING})


class Decision(NamedTuple):
    """What one pass comes to."""

    #: Number of the status to be written; None where it says the same as the stored one.
    status: int | None
    write: Write | None
    #: The switch begins (anew) with this pass: what was proven before is outdated.
    switches: bool
    #: Whether the real status is written, also where only words of it change.
    stored: bool
    #: The name of a good end: `Stable`, or the reason for which people are waited for; else empty.
    settled: str
    told: str


class Thought(NamedTuple):
    """One decision with all that led to it; too large to be kept for every state."""

    snapshot: Snapshot
    situation: Situation
    plan: Plan
    decision: Decision

    @property
    def rests(self) -> bool:
        """Nothing is done, and nothing would be by the next pass."""
        return self.decision.status is None and self.decision.write is None and not self.plan.again


class Operator:
    """Decides on abstract clusters of one configuration; the same cluster is decided upon once."""

    def __init__(self, bounds: Bounds, api: Api | None = None, *, effect_first: bool = False) -> None:
        self.bounds = bounds
        #: A deliberate bug: the effect is made before the status that names it is written.
        self.effect_first = effect_first
        self.plane = Plane(bounds)
        self.statuses = Statuses(migrations=bool(bounds.migrations))
        self.observer = Observer(self.plane, self.statuses)
        self.translator = Translator(self.plane, self.observer)
        self.api = api or Api()
        self._decided: dict[Cluster, Decision] = {}

    def status(self, cluster: Cluster) -> ReleaseStatus:
        return self.statuses[cluster.status]

    def upgrade(self, cluster: Cluster) -> UpgradeStatus | None:
        return self.statuses[cluster.status].upgrade

    def letter(self, revision: str) -> str:
        return self.plane.letters[revision]

    def known(self, cluster: Cluster) -> Decision | None:
        """What was decided on this very cluster before."""
        return self._decided.get(cluster)

    def remember(self, cluster: Cluster, decision: Decision) -> None:
        self._decided[cluster] = decision

    @property
    def decisions(self) -> int:
        """How many decisions are remembered."""
        return len(self._decided)

    def think(self, cluster: Cluster) -> Thought:
        """Decide, as a pass does. Raises BrokenPromiseError where that touches what is not ours."""
        snapshot = self.observer.snapshot(cluster)
        situation = deciding.determine(snapshot)
        planned = planning.plan(snapshot, situation)
        number = self.statuses.number(planned.status)
        write = self.translator.read(planned.effect) if planned.effect is not None else None
        status, upgrade = planned.status, planned.status.upgrade
        effect = f" | {planned.effect.name} {planned.effect.subject}" if planned.effect else ""
        kind = type(situation).__name__.lower()
        words = f"{kind:9} {status.phase}, {status.reason}: {status.message}{effect}"
        written = number if number != cluster.status else None
        rests = written is None and write is None and not planned.again
        decision = Decision(
            status=written,
            write=write,
            switches=upgrade is not None and upgrade.switched_at == NOW,
            stored=status != snapshot.status,
            settled=_good_end(situation, planned) if rests else "",
            told=self.plane.readable(words),
        )
        return Thought(snapshot, situation, planned, decision)

    def with_status(
        self,
        cluster: Cluster,
        number: int | None,
        write: Write | None,
        switches: bool,
        moved: frozenset[str] = frozenset(),
    ) -> Cluster:
        """The cluster once that status is stored, which was decided before those objects `moved`."""
        if number is None:
            return cluster
        for key in [item[0] for item in write.items] if write and write.kind == "switch" else []:
            index = int(key.rpartition("/")[2])
            cluster = with_service(cluster, index, cluster.services[index]._replace(moved=key in moved))
        before = self.statuses[cluster.status].phase
        cluster = cluster._replace(status=number)
        if before in OF_CANDIDATE and tells_of_active(self.bounds, self.statuses[number]):
            cluster = cluster._replace(health=Health.NONE)
        if self.statuses[number].phase is Phase.VERIFYING and before is not Phase.VERIFYING:
            cluster = cluster._replace(health=Health.NONE, preview="")
        if switches:
            workloads = tuple(
                workload._replace(pods=tuple(pod._replace(after=False) for pod in workload.pods))
                for workload in cluster.workloads
            )
            services = tuple(
                service._replace(proof=OUTDATED if service.proof == PROVEN else service.proof)
                for service in cluster.services
            )
            cluster = cluster._replace(workloads=workloads, services=services)
        return cluster

    def tidy(self, cluster: Cluster) -> Cluster:
        """The same cluster without what no decision and no promise can tell apart."""
        status = self.statuses[cluster.status]
        upgrade, phase = status.upgrade, status.phase
        losing = self.letter(upgrade.from_revision) if upgrade and phase in _LOSING_HEARS else ABSENT
        timed = upgrade is not None and upgrade.switched_at is not None and phase is Phase.SOAKING
        pending = status.pending_contract
        running = {owner.id for owner in (upgrade, pending) if owner is not None}
        stays = status.pending_backout
        if stays is not None:
            running.add(f"{stays.id}-backout-")
        known = {owner.id for owner in (upgrade, pending, stays, status.last_upgrade) if owner is not None}
        fenced = status.epoch != 1
        return cluster._replace(
            notes=tuple(note for note in cluster.notes if any(id_ in note[1] for id_ in known)),
            workloads=tuple(
                self._tidy_workload(cluster, workload, losing, timed, fenced)
                for workload in cluster.workloads
            ),
            services=tuple(
                self._tidy_service(service, index, status) for index, service in enumerate(cluster.services)
            ),
            jobs=tuple(job for job in cluster.jobs if any(id_ in job[0] for id_ in running)),
            published_claimed=cluster.published_claimed and fenced,
            health=cluster.health if told(self.bounds, status) else Health.NONE,
            preview=cluster.preview if phase is Phase.VERIFYING else "",
        )

    def _tidy_service(self, service: Service, index: int, status: ReleaseStatus) -> Service:
        known = self.plane.parts[index].served and self.plane.service_name(index) in status.traffic.intended
        proof = service.proof if status.phase is Phase.SWITCHING else UNPROVEN
        moved = service.moved or not known
        if (proof, moved) == (service.proof, service.moved):
            return service
        return service._replace(proof=proof, moved=moved)

    def _tidy_workload(
        self, cluster: Cluster, workload: Workload, losing: str, timed: bool, fenced: bool
    ) -> Workload:
        service = cluster.services[workload.component]
        loses = workload.revision == losing and self.plane.parts[workload.component].served

        def tidied(pod: Pod) -> Pod:
            met = loses and (pod.met or (pod.ready and covers(service.routed, workload, pod)))
            return pod._replace(
                young=pod.young and not pod.ready and not pod.ill,
                after=pod.after and timed and workload.revision == losing,
                met=met,
                told=pod.told or not self.bounds.ramp,
                claimed=pod.claimed and fenced,
            )

        return workload._replace(
            pods=tuple(tidied(pod) for pod in workload.pods), claimed=workload.claimed and fenced
        )


def _good_end(situation: Situation, planned: Plan) -> str:
    match situation:
        case Waiting(reason=reason, stalled=True) | Rejecting(reason=reason):
            return f"Stalled: {reason}"
        case Waiting(reason=reason) if planned.status.upgrade is None and reason in _AT_REST:
            return _AT_REST[reason]
    return ""


def moved_between(before: Cluster, after: Cluster) -> frozenset[str]:
    """Objects whose resource version moved. The release is not among them: who writes it says so."""
    if before.workloads == after.workloads and before.services == after.services:
        return frozenset({CONFIG_MAP} if before.published != after.published else ())
    moved: set[str] = set()
    for index, (old, new) in enumerate(zip(before.services, after.services, strict=True)):
        if (old.selects, old.claimed, old.ours) != (new.selects, new.claimed, new.ours):
            moved.add(service_key(index))
    former = {workload.key: workload for workload in before.workloads}
    present = {workload.key: workload for workload in after.workloads}
    for key in former.keys() | present.keys():
        moved |= _moved_of(former.get(key), present.get(key))
    if (before.published, before.published_claimed) != (after.published, after.published_claimed):
        moved.add(CONFIG_MAP)
    return frozenset(moved)


def _moved_of(old: Workload | None, new: Workload | None) -> set[str]:
    if old == new:
        return set()
    known = new or old
    assert known is not None
    moved: set[str] = set()
    if old is None or new is None or _version(old) != _version(new):
        moved.add(known.key)
    former = {pod.slot: pod for pod in old.pods} if old else {}
    present = {pod.slot: pod for pod in new.pods} if new else {}
    for slot, pod in former.items():
        if slot not in present:
            moved.add(f"{known.pod_key(slot)} ended")
        elif (pod.ready, pod.ill, pod.told, pod.claimed) != _seen(present[slot]):
            moved.add(known.pod_key(slot))
    return moved


def _version(workload: Workload) -> tuple[object, ...]:
    marks = workload.claimed, workload.adopted, workload.paused
    return workload.replicas, marks, tuple((pod.slot, pod.ready) for pod in workload.pods)


def _seen(pod: Pod) -> tuple[bool, bool, bool, bool]:
    return pod.ready, pod.ill, pod.told, pod.claimed


__all__ = ["GONE", "PODS_SUFFERED", "RELEASE", "Decision", "Operator", "moved_between"]
