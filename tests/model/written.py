"""What must hold of every write: what it took, what it was allowed to take, and when."""

from tests.model.broken import BrokenPromiseError
from tests.model.decided import mixed
from tests.model.passes import Operator
from tests.model.planes import NAME
from tests.model.snapshots import hears
from tests.model.world import (
    ABSENT,
    ASTRAY,
    GONE,
    LEGACY,
    OWNERS,
    PODS_SUFFERED,
    RELEASE,
    WIDE,
    Cluster,
    Hand,
    Workload,
    Write,
    covers,
    ready_behind,
    workload_of,
)
from tests.model.writes import MADE, REFUSED, Outcome
from tests.unit.domain.invariants import BACK

from conductor.api.status import ContractState, Phase

_CREATIONS = frozenset({"record", "job", "preview", "service", "create", "apply"})
_LOSING_STANDS = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING})


class WritePromises:
    """Checks of one configuration's writes."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def check_status(self, hand: Hand) -> None:
        """A status that was decided a while ago is about to be stored."""
        if RELEASE in hand.moved:
            raise BrokenPromiseError(6 if hand.deposed else 5, "a status is stored over one that moved since")

    def check(self, before: Cluster, outcome: Outcome, write: Write, hand: Hand | None) -> None:
        """What one effect did; `hand` is given where it was decided a while ago."""
        after = outcome.cluster
        self._deposed_leaders_fail(before, outcome, write, hand)
        if outcome.result == REFUSED and hand is None:
            raise BrokenPromiseError(8, f"{write.kind} {write.items} is refused: it is not ours")
        self._last_pod_stays(before, after, hand.moved if hand is not None else frozenset())
        if hand is None or RELEASE not in hand.moved:
            self._foreign_is_left_alone(before, after, write)
        self._contract_after_its_intent(before, write)
        self._backout_after_its_intent(before, write)
        self._expand_after_a_look(before, write)
        if outcome.result != MADE:
            return
        self._losing_pods_are_silent(before, write, hand)
        if hand is None:
            self._no_node_sends_there(before, write)
            _adopting_moves_nobody(before, after, write)
        if write.kind == "switch":
            self._switched_as_one(before, after)

    def check_half(self, before: Cluster, outcome: Outcome) -> None:
        """What is left of a switch that ended in the middle."""
        served = self._operator.plane.served
        if outcome.result == "back" and mixed(served, outcome.cluster) and not mixed(served, before):
            raise BrokenPromiseError(3, "components stay on a mixed pair after a switch that failed")
        self._last_pod_stays(before, outcome.cluster, frozenset())

    def _deposed_leaders_fail(
        self, before: Cluster, outcome: Outcome, write: Write, hand: Hand | None
    ) -> None:
        if hand is None or not hand.deposed or self._operator.status(before).epoch != 1:
            return
        if outcome.cluster == before:
            return
        if write.kind in _CREATIONS and _only_adds(before, outcome.cluster):
            return
        if all(item[0].startswith("preview/") for item in write.items):
            # No user is behind a preview Service, and it is made again where it is missed.
            return
        raise BrokenPromiseError(6, f"a deposed leader's {write.kind} of {write.items} is taken")

    def _last_pod_stays(self, before: Cluster, after: Cluster, excused: frozenset[str]) -> None:
        if PODS_SUFFERED in excused:
            return
        for index in self._operator.plane.served:
            if f"diverted/{index}" in excused or not before.services[index].ours:
                continue
            had = ready_behind(before, index, before.services[index].selects)
            if had and not ready_behind(after, index, after.services[index].selects):
                name = self._operator.plane.service_name(index)
                raise BrokenPromiseError(1, f"Service {name} loses its last ready pod because of us")

    def _losing_pods_are_silent(self, before: Cluster, write: Write, hand: Hand | None) -> None:
        """Forward, the losing colour goes only once nobody reaches it."""
        status = self._operator.status(before)
        upgrade = status.upgrade
        if write.kind not in ("scale", "delete") or upgrade is None:
            return
        losing = self._operator.letter(upgrade.from_revision)
        for item in write.items:
            workload = workload_of(before, item[0]) if item[0].startswith("deployment/") else None
            if workload is None or workload.revision != losing or status.phase in BACK:
                continue
            if write.kind == "scale" and int(item[1]) >= min(workload.replicas, len(workload.pods)):
                continue
            part = self._operator.plane.parts[workload.component]
            if not part.served:
                continue
            if status.phase in _LOSING_STANDS and write.kind == "scale" and int(item[1]) >= part.replicas:
                continue
            self._silent(before, workload, status.phase, hand)

    def _no_node_sends_there(self, before: Cluster, write: Write) -> None:
        """Pods are not taken away while nodes still send new connections to them."""
        upgrade = self._operator.upgrade(before)
        if write.kind not in ("shed", "delete") or upgrade is None:
            return
        for item in write.items:
            place = item[0].removeprefix("pod/").removeprefix("deployment/").partition("/")[0]
            workload = workload_of(before, f"deployment/{place}")
            if workload is None or not self._operator.plane.parts[workload.component].served:
                continue
            routed = before.services[workload.component].routed
            if any(pod.ready and covers(routed, workload, pod) for pod in workload.pods):
                raise BrokenPromiseError(2, f"{item[0]} is taken away while nodes send users there")

    def _silent(self, cluster: Cluster, workload: Workload, phase: Phase, hand: Hand | None) -> None:
        if phase in _LOSING_STANDS and hand is None:
            raise BrokenPromiseError(2, f"the standby {workload.key} is made smaller in {phase}")
        if hand is not None and hand.moved:
            return
        loud = [pod.slot for pod in workload.pods if hears(cluster, workload, pod)]
        if loud:
            raise BrokenPromiseError(2, f"{workload.key} is scaled down while users reach its pods {loud}")

    def _contract_after_its_intent(self, before: Cluster, write: Write) -> None:
        """The intent is the phase, or the word about a step that was left for later."""
        status = self._operator.status(before)
        pending, upgrade = status.pending_contract, status.upgrade
        name = write.items[0][0]
        if write.kind == "job" and "-contract-" in name:
            later = pending is not None and pending.id in name
            written = pending is not None and pending.state is ContractState.COMMITTED
            if not (written if later else status.phase is Phase.CONTRACTING):
                raise BrokenPromiseError(
                    4, f"the contract Job is made in {status.phase}, its intent is not written"
                )
        if write.kind != "switch" or upgrade is None:
            return
        contracts = any(f"{upgrade.id}-contract-" in job for job, _ in before.jobs)
        former = self._operator.letter(upgrade.from_revision)
        if contracts and any(item[1] == former for item in write.items):
            raise BrokenPromiseError(4, "traffic goes back after the contract step began")

    def _backout_after_its_intent(self, before: Cluster, write: Write) -> None:
        """Once users may have met the new version, what was added to the schema goes only where somebody says so."""
        status = self._operator.status(before)
        name = write.items[0][0]
        if write.kind != "job" or "-backout-" not in name:
            return
        left, upgrade = status.pending_backout, status.upgrade
        if upgrade is not None and upgrade.id in name:
            if upgrade.took_traffic:
                raise BrokenPromiseError(5, "a schema that users may have written to is taken back by itself")
        elif left is None or left.state is not ContractState.COMMITTED or left.id not in name:
            raise BrokenPromiseError(5, "a backout Job is made at rest, its intent is not written")

    def _foreign_is_left_alone(self, before: Cluster, after: Cluster, write: Write) -> None:
        """What is not ours stays, but where a spec that can be read consents to have it adopted."""
        spec = self._operator.plane.read_spec(before.spec)
        if write.kind == "adopt" and spec is not None and spec.adopt is not None:
            return
        for old, new in zip(before.services, after.services, strict=True):
            if not old.ours and old.selects != ABSENT and (old.selects, old.ours) != (new.selects, new.ours):
                raise BrokenPromiseError(8, f"a Service that is not of {NAME} is changed")
        for workload in before.workloads:
            if workload.revision == LEGACY and not workload.adopted and workload not in after.workloads:
                raise BrokenPromiseError(8, f"a Deployment that is not of {NAME} is changed")

    def _expand_after_a_look(self, before: Cluster, write: Write) -> None:
        """Nobody could tell later that it was the expand step by which what serves came to do badly."""
        upgrade = self._operator.upgrade(before)
        if upgrade is None or write.kind != "job" or f"{upgrade.id}-expand-" not in write.items[0][0]:
            return
        if upgrade.from_revision and upgrade.active_before is None:
            raise BrokenPromiseError(2, "the expand step begins, and nobody noted how what serves does")

    def _switched_as_one(self, before: Cluster, after: Cluster) -> None:
        selected = {after.services[index].selects for index in self._operator.plane.served}
        if len(selected) > 1 and not any(s.selects in (ASTRAY, ABSENT) for s in before.services):
            raise BrokenPromiseError(3, f"components are on a mixed pair after a switch: {sorted(selected)}")
        upgrade = self._operator.upgrade(before)
        if WIDE not in selected or upgrade is None:
            return
        pair = {self._operator.letter(upgrade.from_revision), self._operator.letter(upgrade.to_revision)}
        for index in self._operator.plane.served:
            served = {workload.revision for workload, _ in ready_behind(after, index, WIDE)}
            if served - pair:
                raise BrokenPromiseError(2, f"a ramp reaches pods of {served - pair}")


def _adopting_moves_nobody(before: Cluster, after: Cluster, write: Write) -> None:
    """Taking over a Service, or handing it back, leads to the very pods that it led to."""
    for key, target, *_ in write.items if write.kind == "adopt" else ():
        if not key.startswith("service/"):
            continue
        index = int(key.rpartition("/")[2])
        if target == OWNERS and after.services[index].ours:
            raise BrokenPromiseError(
                2, f"{key} is taken over, and leads to whatever comes beside what it led to"
            )
        had, has = (ready_behind(c, index, c.services[index].selects) for c in (before, after))
        if had and not has:
            raise BrokenPromiseError(1, f"{key} loses its last ready pod by being adopted or handed back")


def _only_adds(before: Cluster, after: Cluster) -> bool:
    """Whether nothing that was there is different."""
    kept = after._replace(recorded=before.recorded, jobs=before.jobs)
    kept = kept._replace(workloads=before.workloads, services=before.services)
    stays = all(workload in after.workloads for workload in before.workloads if workload.replicas != GONE)
    served = all(
        old.selects == ABSENT or old._replace(preview="") == new._replace(preview="")
        for old, new in zip(before.services, after.services, strict=True)
    )
    return kept == before and stays and served
