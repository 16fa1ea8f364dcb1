"""What must hold of every decision: its snapshot, its situation and plan, and the truth behind what it saw."""

from dataclasses import replace
from datetime import timedelta

from tests.model.broken import BrokenPromiseError
from tests.model.passes import Operator, Thought
from tests.model.samples import OF_ACTIVE, OF_CANDIDATE, tells_of_active
from tests.model.world import ABSENT, ASTRAY, LEGACY, PROVEN, WIDE, Cluster, Health, ready_behind
from tests.unit.domain.invariants import BACK, FORWARD, NEVER_BACK

from conductor.api.reasons import Reason
from conductor.api.status import ContractState, Outcome, Phase, Verdict
from conductor.domain import determine as deciding
from conductor.domain import plan as planning
from conductor.domain.phases.migration import KEEP_EXPANDED
from conductor.domain.situation import Acting, Ending, Failing, Starting

_A_MOMENT = timedelta(milliseconds=500)
_BY_SPEC = frozenset({Reason.SUPERSEDED, Reason.SPEC_REVERTED, Reason.ROLLBACK_TO})
_BY_HEALTH = frozenset({Reason.UNHEALTHY, Reason.NO_DATA, Reason.PROMETHEUS_ERROR, Reason.ACTIVE_UNHEALTHY})
_UPKEEP = frozenset(
    {Reason.REPAIRING, Reason.TRAFFIC_REVERTED, Reason.PUBLISHING_COLOUR, Reason.CLAIMING_EPOCH}
)
_FORWARD = frozenset({Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING, Phase.CONTRACTING})


class DecisionPromises:
    """Checks of one configuration's decisions."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def check(self, cluster: Cluster, thought: Thought) -> None:
        """Everything about this decision, and the truth behind what it saw."""
        _phases_in_order(thought)
        _quiet_when_nothing_changes(thought)
        _nothing_by_an_unreadable_spec(thought)
        _intent_is_written(thought)
        _no_verdict_no_move(cluster, thought)
        self._forward_by_proof_alone(cluster, thought)
        if tells_of_active(self._operator.bounds, thought.snapshot.status):
            _what_serves_stays_well(cluster, thought)
        self._mixed_pairs_are_mended(cluster, thought)
        self._expansion_is_taken_back(cluster, thought)
        _backout_by_a_persons_word(cluster, thought)
        if thought.decision.settled:
            _owners_have_theirs(cluster, thought)
        if thought.decision.settled.startswith(("Stable", "Stalled: RolledBack")):
            self._rest_means_served(cluster)

    def _forward_by_proof_alone(self, cluster: Cluster, thought: Thought) -> None:
        before, status = thought.snapshot.status.phase, thought.plan.status
        upgrade, after = status.upgrade, thought.plan.status.phase
        if upgrade is None:
            return
        to = self._operator.letter(upgrade.to_revision)
        served = self._operator.plane.served
        if before is Phase.VERIFYING and after in (Phase.RAMPING, Phase.SWITCHING):
            if cluster.health != Health.GOOD:
                raise BrokenPromiseError(7, f"forward on {Health.NAMES[cluster.health]}")
            if cluster.preview != "good":
                raise BrokenPromiseError(2, "forward though the candidate did not answer our requests")
        if before is Phase.SWITCHING and after is Phase.SOAKING:
            for index in served:
                service = cluster.services[index]
                if service.proof != PROVEN:
                    raise BrokenPromiseError(
                        2, "the switch is over though no request of ours was answered since"
                    )
                pods = {workload.revision for workload, _ in ready_behind(cluster, index, service.listed)}
                if pods != {to}:
                    raise BrokenPromiseError(
                        2, f"the switch is over while pods of {pods or 'nobody'} are listed"
                    )
        if thought.decision.write is not None and thought.decision.write.kind == "switch":
            forward = {to, WIDE} & {item[1] for item in thought.decision.write.items}
            if forward and before not in _FORWARD:
                raise BrokenPromiseError(2, f"Services are moved forward in {before}")

    def _mixed_pairs_are_mended(self, cluster: Cluster, thought: Thought) -> None:
        """Where a switch was left half done, the next pass mends it, or says why it cannot."""
        if not mixed(self._operator.plane.served, cluster) or thought.snapshot.status.upgrade is None:
            return
        if thought.rests and not thought.decision.settled and not _holds(thought):
            raise BrokenPromiseError(3, f"a mixed pair is left alone: {thought.plan.status.message}")

    def _rest_means_served(self, cluster: Cluster) -> None:
        """At rest one version serves at its size, and nothing of another one runs."""
        operator = self._operator
        active = operator.letter(operator.status(cluster).active_revision)
        for index, part in enumerate(operator.plane.parts if active else ()):
            if part.served and cluster.services[index].selects != active:
                raise BrokenPromiseError(
                    5, f"at rest, but {part.name} selects {cluster.services[index].selects}"
                )
            runs = [w for w in cluster.workloads if w.component == index and w.revision == active]
            if not any(workload.replicas >= part.replicas for workload in runs):
                raise BrokenPromiseError(5, f"at rest, but {part.name} of {active} is not at its size")
        ours = [w for w in cluster.workloads if w.revision != LEGACY or w.adopted]
        left = [w.key for w in ours if w.revision != active and w.replicas > 0]
        if left:
            raise BrokenPromiseError(5, f"at rest, but {', '.join(left)} still runs")

    def _expansion_is_taken_back(self, cluster: Cluster, thought: Thought) -> None:
        """What an expand step did goes again with an upgrade that no user met; else it is said to stay."""
        upgrade = thought.snapshot.status.upgrade
        if not isinstance(thought.situation, Ending) or upgrade is None or upgrade.took_traffic:
            return
        jobs = {name.rsplit("-", 2)[1]: state for name, state in sorted(cluster.jobs) if upgrade.id in name}
        if thought.situation.outcome is Outcome.SUCCEEDED or jobs.get("expand") != "well":
            return
        kept = KEEP_EXPANDED in dict(cluster.notes).get("approve", "")
        if upgrade.from_revision and jobs.get("backout") != "well" and not kept:
            raise BrokenPromiseError(5, "an expand step was made, and nothing takes it back")


def _backout_by_a_persons_word(cluster: Cluster, thought: Thought) -> None:
    """Once users may have met the new version, what was added to the schema goes only where somebody says so."""
    before, after = thought.snapshot.status.pending_backout, thought.plan.status.pending_backout
    if after is None or after.state is not ContractState.COMMITTED:
        return
    if before is None:
        raise BrokenPromiseError(5, "a schema that stays is to be taken back without having been told")
    said = dict(cluster.notes)
    if before.state is ContractState.PENDING and f"{after.id}/backout" not in said.get("approve", ""):
        raise BrokenPromiseError(5, "a schema that stayed is taken back, and nobody said so")


def _owners_have_theirs(cluster: Cluster, thought: Thought) -> None:
    """At rest what a user made is held still while it serves, and is the user's again where nobody wants it adopted."""
    s = thought.snapshot
    legacy = [workload for workload in cluster.workloads if workload.revision == LEGACY]
    serving = s.active is not None and s.active.adopted is not None
    if serving and not all(workload.adopted and workload.paused for workload in legacy):
        raise BrokenPromiseError(5, "at rest, but a rollout of what was adopted could begin at any time")
    if s.spec is None or s.spec.adopt is not None or s.status.upgrade is not None:
        return
    if any(workload.adopted or workload.paused for workload in legacy):
        raise BrokenPromiseError(8, "at rest, but a Deployment that nobody wants adopted was not handed back")
    if any(service.selects == LEGACY for service in cluster.services):
        raise BrokenPromiseError(8, "at rest, but a Service that nobody wants adopted was not handed back")


def _what_serves_stays_well(cluster: Cluster, thought: Thought) -> None:
    """From the expand step on: nothing goes on while what users are on is unhealthy, and was not before that step."""
    before, after = thought.snapshot.status, thought.plan.status
    old, new = before.upgrade, after.upgrade
    assert old is not None
    bad = cluster.health == Health.BAD
    if new is not None and old.active_before is None and new.active_before is not None:
        noted = (new.active_before is Verdict.HEALTHY, new.active_before is Verdict.UNHEALTHY)
        if noted != (cluster.health == Health.GOOD, bad):
            said = Health.NAMES[cluster.health]
            raise BrokenPromiseError(7, f"what serves is noted as {new.active_before} on {said}")
    if isinstance(thought.situation, Failing) and thought.situation.reason is Reason.ACTIVE_UNHEALTHY:
        if old.active_before is Verdict.UNHEALTHY:
            raise BrokenPromiseError(7, "taken back for what was so before the expand step")
        return
    order = (*OF_ACTIVE, *OF_CANDIDATE)
    forward = after.phase in order and order.index(after.phase) > order.index(before.phase)
    if old.expanded and bad and forward and old.active_before is not Verdict.UNHEALTHY:
        said = f"{before.phase} went to {after.phase} though what serves is unhealthy since the expand step"
        raise BrokenPromiseError(2, said)


def _phases_in_order(thought: Thought) -> None:
    before, after = thought.snapshot.status.phase, thought.plan.status.phase
    if before is after:
        return
    if before is Phase.CONTRACTING and after in BACK:
        raise BrokenPromiseError(4, f"{before} went to {after}: the contract step was committed")
    allowed = FORWARD[before] | (set() if before in NEVER_BACK | BACK else BACK)
    if after not in allowed:
        raise BrokenPromiseError(2, f"{before} went to {after}")


def _quiet_when_nothing_changes(thought: Thought) -> None:
    """A pass without an effect is decided again, on what it has written and on nothing new."""
    s, planned = thought.snapshot, thought.plan
    if planned.effect is not None:
        return
    later = replace(s, status=planned.status, now=s.now + _A_MOMENT)
    again = planning.plan(later, deciding.determine(later))
    same = again.status == planned.status and again.effect is None
    if planned.again and again.again and same:
        raise BrokenPromiseError(11, "the next pass is asked for at once, and it does nothing")
    if planned.again or same:
        return
    fields = type(again.status).model_fields
    differ = [name for name in fields if getattr(again.status, name) != getattr(planned.status, name)]
    raise BrokenPromiseError(
        11, f"nothing changed, and the next pass writes {differ or again.effect}: {again.status.message}"
    )


def _nothing_by_an_unreadable_spec(thought: Thought) -> None:
    s, situation = thought.snapshot, thought.situation
    if s.spec is not None:
        return
    if isinstance(situation, Starting):
        raise BrokenPromiseError(10, "an upgrade begins by a spec that cannot be read")
    if isinstance(situation, Failing) and situation.reason in _BY_SPEC:
        raise BrokenPromiseError(10, f"a spec that cannot be read takes an upgrade back: {situation.reason}")
    if s.status.upgrade is None and isinstance(situation, Acting) and situation.reason not in _UPKEEP:
        raise BrokenPromiseError(10, f"a spec that cannot be read makes {situation.effect.name}")
    stalled = thought.plan.status.condition("Stalled")
    if stalled is None or stalled.status != "True":
        raise BrokenPromiseError(10, "a spec that cannot be read is not said to be Stalled")


def _intent_is_written(thought: Thought) -> None:
    upgrade, effect = thought.plan.status.upgrade, thought.plan.effect
    if effect is None or upgrade is None or thought.snapshot.status.upgrade is None:
        return
    if upgrade.intent is None or upgrade.intent.effect != effect.name:
        raise BrokenPromiseError(5, f"{effect.name} is made without its intent in the status")


def _no_verdict_no_move(cluster: Cluster, thought: Thought) -> None:
    if cluster.health in (Health.GOOD, Health.BAD):
        return
    said = Health.NAMES[cluster.health]
    before, after = thought.snapshot.status, thought.plan.status
    if before.phase is Phase.SOAKING and after.phase is Phase.CLOSING:
        raise BrokenPromiseError(7, f"the window is closed on {said}")
    old, new = before.upgrade, after.upgrade
    told = thought.plan.status.message
    if (
        old is not None
        and new is not None
        and old.id == new.id
        and new.step > old.step
        and "left out" not in told
    ):
        raise BrokenPromiseError(7, f"the next step of the ramp on {said}")
    failing = isinstance(thought.situation, Failing) and thought.situation.reason in _BY_HEALTH
    if failing and cluster.preview != "bad":
        raise BrokenPromiseError(7, f"taken back on {said} alone")
    verdict = new.last_verdict if new else None
    if verdict is not None and verdict.verdict is Verdict.HEALTHY and isinstance(thought.situation, Acting):
        raise BrokenPromiseError(7, f"{said} is called Healthy")


def _holds(thought: Thought) -> bool:
    return thought.plan.status.reason in (Reason.TARGET_NOT_READY, Reason.READINESS_LOST)


def mixed(served: tuple[int, ...], cluster: Cluster) -> bool:
    """Whether our Services lead to several versions, by our own hand."""
    selected = {cluster.services[index].selects for index in served}
    return len(selected) > 1 and not selected & {ABSENT, ASTRAY}
