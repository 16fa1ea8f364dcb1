"""Ramping: users are led to the candidate in shares; how a share comes about is the provider's own matter."""

from conductor.api.reasons import Reason
from conductor.api.status import Phase, Verdict
from conductor.domain.dispute import contested
from conductor.domain.phases.context import Context, explain, failing_verdict
from conductor.domain.phases.previewing import previewing
from conductor.domain.pods import lost_readiness
from conductor.domain.revision import Revision
from conductor.domain.routing import PROOF_PATIENCE, PROOF_POLL
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.traffic.choice import traffic_of
from conductor.domain.traffic.provider import Inexpressible


def ramping(context: Context) -> Situation:
    """Each step: the share, its proof, then the hold; Healthy at its end or back."""
    s, upgrade = context.s, context.upgrade
    steps = context.spec.traffic.ramp
    if context.from_ is None or upgrade.step >= len(steps):
        return Advancing(Phase.SWITCHING, Reason.STARTED, "the ramp is complete")
    if (found := trouble(s, context.to)) is not None:
        return Failing(*found)
    if (lost := lost_readiness(s, context.to)) is not None and upgrade.took_traffic:
        return Failing(Reason.READINESS_LOST, lost)
    step = steps[upgrade.step]
    if (moving := _brought_about(context, context.from_, step.weight)) is not None:
        return moving
    if upgrade.step_at is None:
        held = {"step_at": s.now, "green_share": step.weight}
        return Advancing(Phase.RAMPING, Reason.RAMPING, f"holding {step.weight}%", held)
    verdict = context.verdict()
    if verdict.verdict is Verdict.UNHEALTHY:
        return failing_verdict(verdict)
    if (preview := previewing(context)) is not None:
        return preview
    until = upgrade.step_at + step.hold
    if s.now < until:
        return Waiting(Reason.RAMPING, f"holding {step.weight}%", until, changes={"last_verdict": verdict})
    if verdict.verdict is Verdict.HEALTHY:
        return Advancing(
            Phase.RAMPING,
            Reason.RAMPING,
            f"healthy at {step.weight}%: {verdict.message}",
            {"step": upgrade.step + 1, "step_at": None, "last_verdict": verdict},
        )
    if context.past(upgrade.deadline):
        return Failing(
            Reason.RAMP_DEADLINE, f"spec.deadlines.ramp: no verdict; {explain(verdict, context.spec)}"
        )
    return Waiting(
        Reason.NO_DATA, explain(verdict, context.spec), upgrade.deadline, changes={"last_verdict": verdict}
    )


def _brought_about(context: Context, from_: Revision, percent: int) -> Situation | None:
    """What is still to be done or proven before that share is in force; None once it is."""
    s, upgrade, traffic = context.s, context.upgrade, traffic_of(context.s)
    move = traffic.weigh(from_, context.to, percent)
    if isinstance(move, Inexpressible):
        return Advancing(
            Phase.RAMPING,
            Reason.RAMPING,
            f"spec.traffic.ramp[{upgrade.step}].weight: {move.why}",
            {"step": upgrade.step + 1, "step_at": None},
        )
    if isinstance(move, Acting) and upgrade.weighed_at is not None:
        move = contested(s, move)
    if isinstance(move, Waiting) and move.stalled and context.past(upgrade.deadline):
        return Failing(Reason.RAMP_DEADLINE, f"spec.deadlines.ramp: {move.message}")
    if move is not None or upgrade.step_at is not None:
        return move
    gap = traffic.weight_gap(from_, context.to)
    if gap is None:
        return None
    if s.now - (upgrade.weighed_at or s.now) > PROOF_PATIENCE:
        return Failing(Reason.ROUTING_UNPROVEN, f"{percent}% is not proven to be in force: {gap}")
    return Waiting(Reason.PROVING_ROUTING, gap, s.now + PROOF_POLL)
