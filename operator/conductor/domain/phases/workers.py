"""Handing over components without a Service: Exclusive never lets two versions work, Overlap never none."""

from conductor.api.reasons import Reason
from conductor.api.spec import Handover
from conductor.domain.pods import ending
from conductor.domain.revision import Revision
from conductor.domain.situation import Acting, Situation, Waiting
from conductor.domain.sizing import bounds
from conductor.domain.snapshot import Snapshot, worker_components
from conductor.domain.versioned import scale


def hand_over(s: Snapshot, gaining: Revision, losing: Revision | None) -> Situation | None:
    """Next move of the handover from `losing` to `gaining`; None once it is complete."""
    for name in _dropped(gaining, losing):
        if (stop := _stop(s, name, losing)) is not None:
            return stop
    for component in worker_components(gaining):
        stop = _stop(s, component.name, losing)
        scaled = bounds(s, gaining, component.name)
        # What its autoscaler would take back at once is never reached.
        replicas = scaled.within(component.replicas) if scaled is not None else component.replicas
        start = _start(s, component.name, replicas, gaining)
        exclusive = component.effective_handover is Handover.EXCLUSIVE
        for move in (stop, start) if exclusive else (start, stop):
            if move is not None:
                return move
    return None


def _dropped(gaining: Revision, losing: Revision | None) -> list[str]:
    """Workers that only the losing version has: nothing takes their place, they end."""
    if losing is None:
        return []
    kept = {component.name for component in gaining.spec.components}
    return [component.name for component in worker_components(losing) if component.name not in kept]


def _stop(s: Snapshot, component: str, losing: Revision | None) -> Situation | None:
    if losing is None:
        return None
    workload = s.workload(component, losing.hash)
    if workload is not None and workload.replicas > 0:
        return Acting(scale(workload, 0), Reason.HANDING_OVER, f"stopping workers of {losing.version}")
    if left := s.pods_of(losing.hash, component):
        return ending(s, left, Reason.HANDING_OVER, f"workers of {losing.version} finish what they hold")
    return None


def _start(s: Snapshot, component: str, replicas: int, gaining: Revision) -> Situation | None:
    workload = s.workload(component, gaining.hash)
    if workload is None:
        return None
    if workload.replicas < replicas:
        return Acting(
            scale(workload, replicas),
            Reason.HANDING_OVER,
            f"starting workers of {gaining.version}",
        )
    if len(s.ready_pods(gaining.hash, component)) < replicas:
        return Waiting(Reason.HANDING_OVER, f"workers of {gaining.version} become ready")
    return None
