"""Verifying: enough requests through the preview Services, judged by Prometheus and by their own answers."""

from conductor.api.names import preview_name
from conductor.api.reasons import Reason
from conductor.api.status import Outcome, Phase, Verdict, VerdictStatus
from conductor.domain.phases.bring_up import brought_up_again
from conductor.domain.phases.context import Context, approval_wait, explain, ramps
from conductor.domain.phases.pre_pulling import pulled
from conductor.domain.phases.previewing import previewing
from conductor.domain.pods import not_ready
from conductor.domain.routing import services_of
from conductor.domain.signals import trouble
from conductor.domain.situation import Advancing, Failing, Situation, Waiting
from conductor.domain.traffic.data_plane import Asked, asked
from conductor.domain.verdicts import required_requests


def verifying(context: Context) -> Situation:
    """Only Healthy goes on; nothing here has touched a user, so every failure is a refusal."""
    s, to = context.s, context.to
    if (again := brought_up_again(context)) is not None:
        return again
    if (found := trouble(s, to)) is not None:
        return Failing(*found, outcome=Outcome.REFUSED)
    if (failure := _answers_fail(context)) is not None:
        return failure
    verdict = context.verdict()
    seen = {"last_verdict": verdict}
    if verdict.verdict is Verdict.UNHEALTHY:
        return Failing(
            Reason.UNHEALTHY, f"{context.upgrade.to} is not healthy: {verdict.message}", Outcome.REFUSED, seen
        )
    if (preview := previewing(context)) is not None:
        return preview
    if verdict.verdict is not Verdict.HEALTHY:
        reason = Reason.PROMETHEUS_ERROR if verdict.verdict is Verdict.ERROR else Reason.NO_DATA
        if context.past(context.upgrade.deadline):
            return Failing(
                Reason.VERIFY_DEADLINE,
                f"spec.deadlines.verify: no verdict in time; {explain(verdict, context.spec)}",
                Outcome.REFUSED,
                seen,
            )
        waited = s.now - context.upgrade.phase_started_at
        quiet = waited < context.spec.traffic.switch_health.window
        return Waiting(
            Reason.VERIFYING if quiet else reason,
            "collecting evidence on the candidate" if quiet else explain(verdict, context.spec),
            context.upgrade.deadline,
            changes=seen,
        )
    short = not_ready(s, to)
    if (gap := f"pods ready: {', '.join(short)}" if short else _unproven(context)) is not None:
        if context.past(context.upgrade.deadline):
            return Failing(
                Reason.VERIFY_DEADLINE,
                f"spec.deadlines.verify: not proven in time; {gap}",
                Outcome.REFUSED,
                seen,
            )
        reason = Reason.WAITING_FOR_PODS if short else Reason.VERIFYING
        return Waiting(reason, gap, context.upgrade.deadline, changes=seen)
    return _proven(context, verdict)


def _proven(context: Context, verdict: VerdictStatus) -> Situation:
    """The candidate may have users; what is left is what a person has to say, and whether Gateways can be asked."""
    s, upgrade, from_, seen = context.s, context.upgrade, context.from_, {"last_verdict": verdict}
    met = asked(s, from_, context.to, upgrade.phase_started_at) if from_ is not None else Asked()
    if met.open and not context.past(upgrade.deadline):
        return Waiting(
            Reason.VERIFYING, f"no answer through {met.open[0]} yet", upgrade.deadline, changes=seen
        )
    if (images := pulled(context, seen)) is not None:
        return images
    if context.spec.approval.before_switch and not context.approved("switch"):
        return approval_wait(context, "switch")
    following = Phase.RAMPING if ramps(context) else Phase.SWITCHING
    ways = seen | {"gateways": met.answered}
    if not met.silent:
        return Advancing(following, Reason.STARTED, verdict.message, ways)
    unasked = (
        f"{verdict.message}; {upgrade.from_} never answered through {met.silent[0]}, so that the switch is proven "
        "there by the route's status alone: see gatewayAPI.addresses of the operator's chart"
    )
    return Advancing(following, Reason.GATEWAY_NOT_ASKED, unasked, ways)


def _answers_fail(context: Context) -> Failing | None:
    limits = context.spec.traffic.switch_health
    allowed = limits.error_rate * required_requests(limits)
    for _, service in services_of(context.to):
        probe = context.s.probes.get(preview_name(service.name))
        if probe is None or probe.since < context.upgrade.phase_started_at:
            continue
        if probe.failed > max(allowed, limits.error_rate * probe.sent):
            return Failing(
                Reason.UNHEALTHY,
                f"spec.verification.http: {probe.failed} of {probe.sent} requests through {probe.target} failed, "
                f"the last with {probe.last_failure}",
                Outcome.REFUSED,
            )
    return None


def _unproven(context: Context) -> str | None:
    checked = {check.service for check in context.spec.verification.http}
    for _, service in services_of(context.to):
        name = preview_name(service.name)
        probe = context.s.probes.get(name)
        if service.name not in checked:
            continue
        if probe is None or probe.since < context.upgrade.phase_started_at or probe.sent == probe.failed:
            return f"no good answer through {name} yet"
    return None
