"""Ramping on plain Services: shares of users' connections, by how many pods of each colour serve."""

from conductor.api.reasons import Reason
from conductor.api.spec import RampStep
from conductor.api.status import Phase, Verdict
from conductor.domain.phases.context import Context, explain, failing_verdict
from conductor.domain.pods import lost_readiness, trouble
from conductor.domain.routing import is_wide, widen
from conductor.domain.situation import Acting, Advancing, Failing, Situation, Waiting
from conductor.domain.snapshot import Pod, served_components
from conductor.domain.versioned import set_serving
from conductor.domain.weights import pods_for_weight


def ramping(context: Context) -> Situation:
    """Each step: who serves, then who is selected, then the hold; Healthy at its end or back."""
    s, upgrade = context.s, context.upgrade
    steps = context.spec.traffic.ramp
    if context.from_ is None or upgrade.step >= len(steps):
        return Advancing(Phase.SWITCHING, Reason.STARTED, "the ramp is complete")
    if (found := trouble(s, context.to)) is not None:
        return Failing(*found)
    if (lost := lost_readiness(s, context.to)) is not None and upgrade.took_traffic:
        return Failing(Reason.READINESS_LOST, lost)
    step = steps[upgrade.step]
    changes = _serving_changes(context, step)
    if changes is None:
        return Advancing(
            Phase.RAMPING,
            Reason.RAMPING,
            f"spec.traffic.ramp[{upgrade.step}].weight: {step.weight}% cannot be expressed with these pod counts "
            "and is left out; use more replicas or a larger weight",
            {"step": upgrade.step + 1, "step_at": None},
        )
    if changes:
        return Acting(
            set_serving(changes), Reason.RAMPING, f"serving labels for {step.weight}%", {"step_at": None}
        )
    if not is_wide(s, context.from_, context.to):
        return Acting(
            widen(s, context.from_, context.to),
            Reason.SWITCHING,
            f"moving {step.weight}% of new connections",
            {"took_traffic": True, "step_at": s.now, "green_share": step.weight},
        )
    if upgrade.step_at is None:
        held = {"step_at": s.now, "green_share": step.weight}
        return Advancing(Phase.RAMPING, Reason.RAMPING, f"holding {step.weight}%", held)
    verdict = context.verdict()
    if verdict.verdict is Verdict.UNHEALTHY:
        return failing_verdict(verdict)
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


def share(context: Context, step: RampStep) -> dict[str, tuple[int, int]] | None:
    """Per component, how many losing and gaining pods serve at this step; None where one cannot express it."""
    if context.from_ is None:
        return None
    counts: dict[str, tuple[int, int]] = {}
    former = {component.name for component in served_components(context.from_)}
    # A component that only the new version has takes nobody's users in a ramp.
    for component in (component for component in served_components(context.to) if component.name in former):
        losing = len(context.s.ready_pods(context.from_.hash, component.name))
        gaining = len(context.s.ready_pods(context.to.hash, component.name))
        workload = context.s.workload(component.name, context.from_.hash)
        capacity = min(workload.replicas if workload else losing, losing)
        found = pods_for_weight(step.weight, losing, gaining, capacity)
        if found is None:
            return None
        counts[component.name] = found
    return counts or None


def _serving_changes(context: Context, step: RampStep) -> tuple[tuple[Pod, bool], ...] | None:
    """Label changes, those that add capacity first; None where the step cannot be expressed."""
    counts = share(context, step)
    if counts is None or context.from_ is None:
        return None
    on: list[tuple[Pod, bool]] = []
    off: list[tuple[Pod, bool]] = []
    for component, (losing, gaining) in counts.items():
        for revision, wanted in ((context.to.hash, gaining), (context.from_.hash, losing)):
            pods = sorted(context.s.ready_pods(revision, component), key=_serving_first)
            on += [(pod, True) for pod in pods[:wanted] if not pod.serving]
            off += [(pod, False) for pod in pods[wanted:] if pod.serving]
    return (*on, *off)


def _serving_first(pod: Pod) -> tuple[bool, str]:
    return (not pod.serving, pod.name)
