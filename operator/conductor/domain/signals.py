"""Hard signals: why a revision cannot come up or stay up, told by its pods and Deployments alone, with the mend.

None of them waits for Prometheus. What may pass by itself has to last for a while; the table is in docs/faults.md.
A version that has users is gone back from for what its pods do, and for pods that it lacks only where fewer are ready
than it asks for at the least: that there is no room to grow is no reason to take users away from what serves them.
"""

import math
from datetime import datetime, timedelta

from conductor.api.reasons import Reason
from conductor.api.sizing import SurgeNodes
from conductor.domain.revision import Revision, grace_seconds
from conductor.domain.sizing import least
from conductor.domain.snapshot import Pod, Snapshot, policy

Signal = tuple[Reason, str]

#: kubelet's own back-off starts at 10 s; after three of them a wrong image name is no longer a hiccup.
IMAGE_PATIENCE = timedelta(seconds=30)
#: A Secret or ConfigMap that is applied together with the release may come a moment after it.
_START_PATIENCE = timedelta(seconds=30)
_SCHEDULING_PATIENCE = timedelta(seconds=30)
#: A quota that pods on their way out still hold is free again once they have gone.
_REFUSED_PATIENCE = timedelta(seconds=15)
#: In what the API server says of a quota.
_QUOTA = "exceeded quota"
#: How the API server begins where it could not answer, as while a webhook's own pods are replaced.
_FALTERING = "Internal error occurred"
#: A ReplicaSet tries again after twice as long each time.
_FALTERING_PATIENCE = timedelta(minutes=1)
#: No second try makes these right.
_NO_IMAGE_EVER = frozenset({"InvalidImageName", "ErrImageNeverPull"})
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff"}) | _NO_IMAGE_EVER
_CANNOT_START = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASH_RESTARTS = 3
#: Once may be an accident of the moment.
_OOM_RESTARTS = 2
_OOM = "OOMKilled"
#: So many pods were taken off their nodes, and as many as half of the component has.
_EVICTIONS = 3
#: A node that is shut down ends its pods in an orderly way.
_NO_EVICTION = frozenset({"Terminated", "NodeShutdown"})


def trouble(s: Snapshot, revision: Revision) -> Signal | None:
    """The first thing that keeps this revision from running and will not mend itself, or None."""
    for pod in s.pods_of(revision.hash):
        if not pod.terminating and (found := _of_its_own(s, pod)) is not None:
            return found
    for component in revision.spec.components:
        if _carries(s, revision, component.name):
            continue
        if (found := _lacking(s, revision, component.name)) is not None:
            return found
    return None


def in_question(pod: Pod, now: datetime) -> bool:
    """Whether a container's patience is over, unless it began to fail long after its pod was given a node."""
    waits = pod.waiting_reason in _CANNOT_START | (IMAGE_REASONS - _NO_IMAGE_EVER)
    return waits and not pod.terminating and now - _began(pod) >= min(IMAGE_PATIENCE, _START_PATIENCE)


def _carries(s: Snapshot, revision: Revision, component: str) -> bool:
    """Users are on it, and as many pods are ready as it is to have at the least."""
    upgrade = s.status.upgrade
    if upgrade is None or not upgrade.took_traffic or upgrade.to_revision != revision.hash:
        return False
    return len(s.ready_pods(revision.hash, component)) >= least(s, revision, component)


def _of_its_own(s: Snapshot, pod: Pod) -> Signal | None:
    """What a container does, wherever it runs."""
    where = f"spec.components[{pod.component}].template"
    who = _named(pod)
    look = f"`kubectl logs {pod.name}{f' -c {pod.container}' if pod.container else ''} --previous`"
    backing_off = pod.waiting_reason == "CrashLoopBackOff"
    if pod.died_of == _OOM and (pod.restarts >= _OOM_RESTARTS or backing_off):
        return (
            Reason.OUT_OF_MEMORY,
            f"{where}.spec.containers[].resources.limits.memory: {who} was killed for want of memory ({_OOM}), and "
            f"ended {pod.restarts} times; raise the limit, or mend what takes the memory ({look})",
        )
    if backing_off or pod.restarts >= _CRASH_RESTARTS:
        return (
            Reason.CRASH_LOOPING,
            f"{where}: {who} ended {pod.restarts} times ({pod.waiting_message or 'see its log'}); "
            f"look at {look} and correct the template or the image",
        )
    if pod.waiting_reason in _CANNOT_START and _trying_for(s, pod) >= _START_PATIENCE:
        return (
            Reason.CANNOT_START,
            f"{where}: {who} cannot be started ({pod.waiting_reason}: {pod.waiting_message}); create the Secret, "
            "ConfigMap or key that it names, or correct its command or its securityContext",
        )
    return None


def _lacking(s: Snapshot, revision: Revision, component: str) -> Signal | None:
    """What keeps pods of a component from being there, for which the cluster may be to blame as well."""
    spec = policy(s, revision)
    comes = spec.surge.nodes is SurgeNodes.ON_DEMAND
    # Creation times are whole seconds: while a candidate comes up, its own deadline is the one that is told.
    patience = spec.deadlines.bring_up + timedelta(seconds=1) if comes else _SCHEDULING_PATIENCE
    for pod in s.pods_of(revision.hash, component):
        if not pod.terminating and (found := _not_placed(s, pod, patience)) is not None:
            return found
    return _evicted(s, revision, component) or _refused(s, revision, component)


def _not_placed(s: Snapshot, pod: Pod, scheduling_patience: timedelta) -> Signal | None:
    where = f"spec.components[{pod.component}].template"
    hopeless = pod.waiting_reason in _NO_IMAGE_EVER
    if pod.waiting_reason in IMAGE_REASONS and (hopeless or _trying_for(s, pod) >= IMAGE_PATIENCE):
        return (
            Reason.IMAGE_UNAVAILABLE,
            f"{where}.spec.containers[].image: {pod.image} cannot be pulled for {_named(pod)} ({pod.waiting_reason}: "
            f"{pod.waiting_message}); push the image, correct its name or give imagePullSecrets",
        )
    if pod.unschedulable and s.age(pod.created_at) >= scheduling_patience:
        return (
            Reason.UNSCHEDULABLE,
            f"{where}: pod {pod.name} fits no node ({pod.unschedulable}); free or add capacity, "
            "or lower resources.requests",
        )
    return None


def _evicted(s: Snapshot, revision: Revision, component: str) -> Signal | None:
    """Pods that kubelets ended and did not start again: over their limits, or the first to go under pressure."""
    upgrade = s.status.upgrade
    workload = s.workload(component, revision.hash)
    if upgrade is None or workload is None:
        return None
    gone = [
        pod
        for pod in s.failed_pods
        if (pod.revision, pod.component) == (revision.hash, component)
        and pod.reason not in _NO_EVICTION
        # The API server keeps whole seconds.
        and pod.created_at >= upgrade.started_at.replace(microsecond=0)
    ]
    if len(gone) < max(_EVICTIONS, math.ceil(workload.replicas / 2)):
        return None
    last = max(gone, key=lambda pod: (pod.created_at, pod.name))
    on = f" of node {last.node}" if last.node else ""
    return (
        Reason.PODS_EVICTED,
        f"spec.components[{component}].template: {len(gone)} pods were ended by their nodes, the last one "
        f"{last.name}{on} ({last.reason}: {last.message}); raise resources.requests and limits to what it needs "
        "(memory, ephemeral-storage), or relieve the nodes",
    )


def _refused(s: Snapshot, revision: Revision, component: str) -> Signal | None:
    """The API server takes no pods of it: a quota, an admission policy, Pod Security, a service account."""
    workload = s.workload(component, revision.hash)
    if workload is None or workload.refused_at is None:
        return None
    patience = _FALTERING_PATIENCE if _FALTERING in workload.refused else _REFUSED_PATIENCE
    if s.age(workload.refused_at) < patience or (
        _QUOTA in workload.refused and s.age(_held_until(s, workload.refused_at)) < patience
    ):
        return None
    return (
        Reason.PODS_REFUSED,
        f"spec.components[{component}].template: no pod of Deployment {workload.name} is created ({workload.refused}); "
        "correct the template, or mend the quota or the policy that refuses it",
    )


def _held_until(s: Snapshot, refused_at: datetime) -> datetime:
    """Until when pods on their way out may hold the room of one that is refused, where users are on the candidate.

    A drained node takes pods of either colour. One that has gone leaves no trace of when it was told to: its grace is
    counted from the refusal.
    """
    upgrade = s.status.upgrade
    if upgrade is None or not upgrade.took_traffic:
        return refused_at
    known = [
        s.revisions[hash_] for hash_ in (upgrade.from_revision, upgrade.to_revision) if hash_ in s.revisions
    ]
    graces = [
        grace_seconds(component, revision.spec.pre_stop_hook)
        for revision in known
        for component in revision.spec.components
    ]
    unseen = refused_at + timedelta(seconds=max(graces, default=0))
    return max([unseen, *(pod.ends_by for pod in s.pods if pod.ends_by is not None)])


def _trying_for(s: Snapshot, pod: Pod) -> timedelta:
    """For how long its node has tried in vain: waiting for a node, a first pull and a time when it ran do not count."""
    began = _began(pod)
    return s.age(max(began, pod.failing_since) if pod.failing_since is not None else began)


def _began(pod: Pod) -> datetime:
    """Since when its node could have started it."""
    began = pod.placed_at or pod.created_at
    return max(began, pod.ended_at) if pod.ended_at is not None else began


def _named(pod: Pod) -> str:
    return f"container {pod.container} of pod {pod.name}" if pod.container else f"pod {pod.name}"
