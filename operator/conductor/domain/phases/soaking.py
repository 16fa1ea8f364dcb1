"""Soaking: users are on the candidate; the old colour is shed surge-first and stays able to take them back."""

import math
from collections.abc import Sequence
from dataclasses import replace

from conductor.api.reasons import Reason
from conductor.api.spec import NoDataPolicy
from conductor.api.status import Outcome, Phase, Verdict
from conductor.domain.nodes import unless_followed
from conductor.domain.phases.context import Context, approval_wait, explain, failing_verdict
from conductor.domain.phases.deferred_contract import how_to_run, left_for_later, reason_of
from conductor.domain.phases.migration import contract_due
from conductor.domain.phases.standby import edited
from conductor.domain.pods import lost_readiness, standby_replicas
from conductor.domain.revision import Revision
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Advancing, Ending, Failing, Situation, Waiting
from conductor.domain.snapshot import Pod, served_components
from conductor.domain.versioned import delete_pods, scale

#: After a first wave of one pod, a third of the colour at a time.
SHED_WAVES = 3


def soaking(context: Context) -> Situation:
    """Health first, then shedding, then time, then a person."""
    s, upgrade = context.s, context.upgrade
    if context.from_ is None:
        return Ending(Outcome.SUCCEEDED, Reason.BOOTSTRAPPED, f"{context.to.version} serves")
    if (found := trouble(s, context.to)) is not None:
        return Failing(*found)
    if (lost := lost_readiness(s, context.to)) is not None:
        return Failing(Reason.READINESS_LOST, lost)
    verdict = context.verdict()
    seen = {"last_verdict": verdict}
    if verdict.verdict is Verdict.UNHEALTHY:
        return failing_verdict(verdict)
    if (move := shed(context, context.from_)) is not None:
        return move if isinstance(move, Acting) else replace(move, changes=seen)
    until = (upgrade.switched_at or upgrade.phase_started_at) + context.spec.soak
    if s.now < until:
        open_ = f"{context.to.version} serves, rollback window open"
        if changed := edited(context):
            return Waiting(Reason.STANDBY_EDITED, f"{open_}; {changed}", until, changes=seen)
        return Waiting(Reason.SOAKING, open_, until, changes=seen)
    if verdict.verdict is not Verdict.HEALTHY:
        if context.spec.traffic.switch_health.no_data is NoDataPolicy.ROLLBACK:
            return Failing(Reason.NO_DATA, explain(verdict, context.spec), changes=seen)
        reason = Reason.PROMETHEUS_ERROR if verdict.verdict is Verdict.ERROR else Reason.NO_DATA
        return Waiting(reason, explain(verdict, context.spec), changes=seen)
    if context.spec.approval.before_contract and not context.approved("contract"):
        return approval_wait(context, "contract")
    return Advancing(Phase.CLOSING, Reason.PROVING_SILENCE, verdict.message, seen)


def shed(context: Context, losing: Revision) -> Acting | Waiting | None:
    """Next move that makes clients of `losing` reconnect; None once none of its pods ever served them.

    Surge first: the standby is never smaller than what it may have to take back.
    """
    s = context.s
    switched_at = context.upgrade.switched_at
    if switched_at is None:
        return None
    to_go = any(pod.created_at < switched_at and not pod.terminating for pod in s.pods_of(losing.hash))
    if to_go and (lag := unless_followed(s, losing, Reason.SHEDDING)) is not None:
        return lag
    for component in served_components(losing):
        workload = s.workload(component.name, losing.hash)
        if workload is None:
            continue
        base = standby_replicas(s, component.name, context.to, losing)
        present = [pod for pod in s.pods_of(losing.hash, component.name) if not pod.terminating]
        ready = [pod for pod in present if pod.ready]
        served = sorted((pod for pod in present if pod.created_at < switched_at), key=lambda pod: pod.name)
        if not served:
            if workload.replicas != base:
                return Acting(
                    scale(workload, base),
                    Reason.SHEDDING,
                    f"standby {component.name} at {base}",
                )
            continue
        known = context.upgrade.served.get(component.name, len(served))
        noted = {"served": {**context.upgrade.served, component.name: known}}
        wave = _wave(served, known)
        # A hotfix beside a colour that cannot serve has no standby to keep: its pods go without a surge.
        spared = not context.upgrade.hotfix or lost_readiness(s, losing) is None
        if spared and workload.replicas < base + len(wave):
            return Acting(
                scale(workload, base + len(wave)),
                Reason.SHEDDING,
                f"surge of {len(wave)} before shedding {component.name}",
                noted,
            )
        if spared and len(ready) < base + len(wave):
            waits = f"standby of {component.name}: {len(ready)}/{base + len(wave)} pods ready"
            found = trouble(s, losing)
            if found is None:
                return Waiting(Reason.SHEDDING, waits)
            return Waiting(found[0], f"{waits}; {found[1]}", stalled=True)
        return Acting(
            delete_pods(wave),
            Reason.SHEDDING,
            f"shedding {len(wave)} pod(s) of {component.name}, {len(served)} left with users' connections",
            noted,
        )
    return None


def _wave(served: Sequence[Pod], known: int) -> Sequence[Pod]:
    """One pod first, then a third of the `known` pods that users were on when shedding began."""
    return served[: math.ceil(known / SHED_WAVES) if len(served) < known else 1]


def after_closing(context: Context) -> Situation:
    """Contract if it is due, else the end; a deferred contract is named."""
    if context.upgrade.stays:
        said = f"{context.to.version} stays: {context.upgrade.from_} could not take its users back"
        pending = left_for_later(context)
        return Ending(
            Outcome.SUCCEEDED,
            Reason.ROLLBACK_GIVEN_UP,
            said,
            {"pending_contract": pending} if pending else {},
        )
    if contract_due(context):
        return Advancing(Phase.CONTRACTING, Reason.CONTRACTING, "the rollback window is closed")
    if (pending := left_for_later(context)) is not None:
        return Ending(
            Outcome.SUCCEEDED,
            reason_of(context.s, pending),
            f"upgraded to {context.to.version}; the contract step is left for later ({pending.policy}): "
            f"{how_to_run(context.s, pending)}",
            {"pending_contract": pending},
        )
    return Ending(Outcome.SUCCEEDED, Reason.SUCCEEDED, f"upgraded to {context.to.version}")
