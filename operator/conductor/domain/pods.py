"""Pods of a revision: how many are wanted, how many are ready, and how long those that go may take."""

import math
from collections.abc import Sequence
from datetime import timedelta

from conductor.api.reasons import Reason
from conductor.domain.revision import Revision
from conductor.domain.situation import Waiting
from conductor.domain.sizing import bounds, least
from conductor.domain.snapshot import Pod, Snapshot, served_components

#: A pod that is not ready counts as starting for this long, as lost from then on.
_START_PATIENCE = timedelta(seconds=30)
#: kubelet kills what has not ended in its grace period at once; from then on its node does not answer.
_ENDING_PATIENCE = timedelta(minutes=2)
_SHOWN = 10


def ending(s: Snapshot, pods: Sequence[Pod], reason: Reason, said: str) -> Waiting:
    """The wait for pods that are told to go; where their node does not end them, a person has to."""
    by = {pod.name: pod.ends_by + _ENDING_PATIENCE for pod in pods if pod.ends_by is not None}
    overdue = sorted(name for name, until in by.items() if s.now >= until)
    if not overdue:
        return Waiting(reason, said, min(by.values(), default=None))
    nodes = ", ".join(sorted({pod.node for pod in pods if pod.name in overdue and pod.node}))
    return Waiting(
        reason,
        f"{said}; {', '.join(overdue[:_SHOWN])} should have ended, and node {nodes or '(none)'} does not say so. Bring "
        "the node back, or, once its machine is known to be off, forget what ran there: kubectl delete pod "
        f"-n {s.namespace} --force --grace-period=0 {' '.join(overdue[:_SHOWN])}",
        stalled=True,
    )


def not_ready(s: Snapshot, revision: Revision) -> list[str]:
    """Components of a revision whose ready pods are fewer than their Deployment asks for, as `api 2/5`."""
    short: list[str] = []
    for component in revision.spec.components:
        workload = s.workload(component.name, revision.hash)
        asked = workload.replicas if workload else component.replicas
        ready = len(s.ready_pods(revision.hash, component.name))
        if ready < asked or workload is None or not workload.observed:
            short.append(f"{component.name} {ready}/{asked}")
    return short


def lost_readiness(s: Snapshot, revision: Revision) -> str | None:
    """A component that serves users with less than half of its pods, or None: no reason to wait for a window.

    A pod that was just made has not lost anything: when an autoscaler trebles a colour, most of its
    pods are starting, and its users are as well served as before.
    """
    for component in served_components(revision):
        present = [pod for pod in s.pods_of(revision.hash, component.name) if not pod.terminating]
        ready = sum(pod.ready for pod in present)
        starting = sum(not pod.ready and s.age(pod.created_at) < _START_PATIENCE for pod in present)
        if ready == 0 or ready < math.ceil((len(present) - starting) / 2):
            return f"component {component.name} has {ready} of {len(present)} pods ready"
    return None


def wanted_replicas(s: Snapshot, component: str, to: Revision, from_: Revision | None) -> int:
    """How many pods a component of the candidate gets.

    What the spec says, unless somebody or an autoscaler scaled the active one away from its own
    spec: then at least as many as serve now. Where we autoscale it, exactly as many.
    """
    asked = to.spec.component(component).replicas
    scaled = bounds(s, to, component)
    serving = s.workload(component, from_.hash) if from_ is not None else None
    if scaled is not None:
        return scaled.within(serving.replicas if serving is not None else asked)
    if from_ is None:
        return asked
    declared = next((c.replicas for c in from_.spec.components if c.name == component), None)
    if serving is None or serving.replicas == declared:
        return asked
    return max(asked, serving.replicas)


def standby_replicas(s: Snapshot, component: str, active: Revision, standby: Revision) -> int:
    """How many pods the standby needs to carry what the active colour carries now."""
    serving = s.workload(component, active.hash)
    return max(least(s, standby, component), serving.replicas if serving else 0)
