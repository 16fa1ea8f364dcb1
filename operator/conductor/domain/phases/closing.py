"""Closing: silence on every losing pod, then the old colour is scaled to zero; its spec is kept."""

from datetime import timedelta

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Verdict
from conductor.domain.nodes import unless_followed
from conductor.domain.phases.context import Context, failing_verdict
from conductor.domain.phases.soaking import after_closing
from conductor.domain.phases.workers import hand_over
from conductor.domain.pods import ending, lost_readiness
from conductor.domain.revision import Revision
from conductor.domain.routing import services_of
from conductor.domain.signals import trouble
from conductor.domain.situation import Acting, Failing, Situation, Waiting
from conductor.domain.snapshot import Snapshot, served_components
from conductor.domain.versioned import delete, scale

#: Twice a common scrape interval, so that one missed scrape is not taken for silence.
SILENCE_WINDOW = timedelta(seconds=15)
_FRESH = timedelta(seconds=15)
_SILENCE_PATIENCE = timedelta(minutes=10)


def closing(context: Context) -> Situation:
    """A rollback from here scales the old colour up again first."""
    s, losing = context.s, context.from_
    if losing is None:
        return after_closing(context)
    if (failing := _failing(context)) is not None:
        return failing
    if context.upgrade.stays and (move := hand_over(s, context.to, losing)) is not None:
        return move
    running = [
        workload
        for component in served_components(losing)
        if (workload := s.workload(component.name, losing.hash)) is not None and workload.replicas > 0
    ]
    if running:
        if (lag := unless_followed(s, losing, Reason.PROVING_SILENCE)) is not None:
            return lag
        if (noise := silence_gap(s, losing)) is not None:
            return _not_silent(context, losing, noise)
        return Acting(scale(running[0], 0), Reason.DRAINING, f"scaling {running[0].name} to zero")
    if left := [
        pod for pod in s.pods_of(losing.hash) if pod.component in {c.name for c in served_components(losing)}
    ]:
        return ending(
            s, left, Reason.DRAINING, f"{len(left)} pod(s) of {losing.version} finish what they hold"
        )
    previews = tuple(
        ("Service", name)
        for _, service in services_of(context.to)
        if (name := names.preview_name(service.name)) in s.services
    )
    if previews:
        return Acting(delete(s, previews), Reason.CLEANING_UP, "removing the preview Services")
    return after_closing(context)


def _failing(context: Context) -> Failing | None:
    """Why the candidate is taken back even now; where a person let it stay, there is no way back any more."""
    s = context.s
    if context.upgrade.stays:
        return None
    if (found := trouble(s, context.to)) is not None:
        return Failing(*found)
    if (lost := lost_readiness(s, context.to)) is not None:
        return Failing(Reason.READINESS_LOST, lost)
    verdict = context.verdict()
    if verdict.verdict is Verdict.UNHEALTHY:
        return failing_verdict(verdict)
    return None


def _not_silent(context: Context, losing: Revision, noise: str) -> Waiting:
    """Waited for without end, and after a while a person is told what to look for: the surge costs meanwhile."""
    # Of what a dead node ran nobody measures anything, and nothing but a person can say that it is dead.
    lost = ending(context.s, context.s.pods_of(losing.hash), Reason.PROVING_SILENCE, noise)
    if lost.stalled:
        return lost
    patient_until = context.upgrade.phase_started_at + _SILENCE_PATIENCE
    if context.s.now < patient_until:
        return Waiting(Reason.PROVING_SILENCE, noise, patient_until)
    return Waiting(
        Reason.PROVING_SILENCE,
        f"{noise}; nothing is scaled down before it is silent. Look for what reaches these pods past the Service (pod "
        "addresses, another Service, a node whose proxy lags), and see that Prometheus scrapes them and that they "
        "count requests from their start, at 0",
        stalled=True,
    )


def silence_gap(s: Snapshot, losing: Revision) -> str | None:
    """Why it is not proven that no client reaches the losing pods; None when it is."""
    sample = s.silence
    if sample is None or sample.revision != losing.hash or s.now - sample.at > _FRESH:
        return f"waiting for a measurement of what {losing.version} still answers"
    if sample.error:
        return f"cannot measure what {losing.version} still answers: {sample.error}"
    for component in served_components(losing):
        for pod in s.pods_of(losing.hash, component.name):
            if not pod.running:
                continue
            count = sample.requests_by_pod.get(pod.name)
            if count is None:
                return f"Prometheus has no series of pod {pod.name}; silence is not proven"
            if count > 0:
                return f"pod {pod.name} of {losing.version} still answers users"
    return None
