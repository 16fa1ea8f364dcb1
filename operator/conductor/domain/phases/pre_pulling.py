"""Bringing a candidate's images onto every node where its pods may run: begun beside it, waited for with patience.

It spares a pull to pods that land elsewhere later. No more than that hangs on it, so nothing is refused for its sake.
"""

from datetime import timedelta
from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.effects import CreateObject
from conductor.domain.phases.context import Context
from conductor.domain.pre_pull import pre_pull_job
from conductor.domain.revision import render_deployment
from conductor.domain.situation import Acting, Advancing, Waiting
from conductor.domain.snapshot import JobState, Snapshot, served_components

#: From when nothing else is waited for in Verifying.
PATIENCE = timedelta(seconds=60)
_GOES_ON = "The upgrade goes on: a pod that comes onto a node without its image pulls it first"


def begun(context: Context) -> Acting | Advancing | None:
    """The next Job to be made, by a name of its own: a second one is refused. None where there is none to be made.

    The candidate's own pods come first, where a quota counts them. Whoever brings a hotfix has no time for it.
    """
    s, to, upgrade = context.s, context.to, context.upgrade
    asked = context.spec.surge.pre_pull
    if asked is None or upgrade.pre_pull_told or upgrade.hotfix or s.room is None or not _all_made(context):
        return None
    if s.room.nodes is None:
        said = (
            f"spec.surge.prePull: this operator has no right to list nodes, so no image is pulled. {_GOES_ON}"
        )
        return Advancing(Phase.BRINGING_UP, Reason.IMAGE_NOT_EVERYWHERE, said, {"pre_pull_told": True})
    for component in to.spec.components:
        name = names.pre_pull_name(s.name, upgrade.id, component.name)
        if name in s.jobs:
            continue
        deployment = render_deployment(
            s.name, s.namespace, to, component, colour=upgrade.to_colour, replicas=0
        )
        job = pre_pull_job(
            deployment,
            asked.image,
            s.room.nodes,
            upgrade=upgrade.id,
            at_most=context.spec.deadlines.bring_up,
        )
        if job is not None and _refused(s, name):
            said = f"spec.surge.prePull: {s.status.message}. {_GOES_ON}"
            return Advancing(Phase.BRINGING_UP, Reason.IMAGE_NOT_EVERYWHERE, said, {"pre_pull_told": True})
        if job is not None:
            many = job["spec"]["completions"]
            said = f"starting Job {name}: the images of {component.name} onto {many} node(s)"
            return Acting(CreateObject(job), Reason.PRE_PULLING, said)
    return None


def pulled(context: Context, seen: dict[str, Any]) -> Waiting | Advancing | None:
    """Wait for the Jobs that there are, and tell once of those that did not end well; None where nothing is to be said.

    One that somebody removed is not missed.
    """
    s, upgrade = context.s, context.upgrade
    if context.spec.surge.pre_pull is None or upgrade.pre_pull_told:
        return None
    asked = [
        names.pre_pull_name(s.name, upgrade.id, component.name) for component in context.to.spec.components
    ]
    jobs = [s.jobs[name] for name in asked if name in s.jobs]
    running = [job for job in jobs if not job.ended]
    since = upgrade.pre_pull_since or s.now
    until = since + PATIENCE
    if running and not context.past(until) and not context.past(upgrade.deadline):
        until = min(until, upgrade.deadline) if upgrade.deadline is not None else until
        said = f"waiting for images on every node: {'; '.join(map(_told, running))}"
        return Waiting(Reason.PRE_PULLING, said, until, changes=seen | {"pre_pull_since": since})
    missed = [job for job in jobs if not _everywhere(job)]
    if not missed:
        return None
    said = f"spec.surge.prePull: {'; '.join(map(_told, missed))}. {_GOES_ON}"
    return Advancing(Phase.VERIFYING, Reason.IMAGE_NOT_EVERYWHERE, said, seen | {"pre_pull_told": True})


def _refused(s: Snapshot, job: str) -> bool:
    """Whether the API server did not take that Job when it was to be made last: a quota, or somebody's policy."""
    intent = s.status.upgrade.intent if s.status.upgrade else None
    made = intent is not None and (intent.effect, intent.subject) == (CreateObject.__name__, f"Job/{job}")
    return made and s.status.reason == Reason.WRITE_FAILED


def _all_made(context: Context) -> bool:
    s, to = context.s, context.to
    return all(
        (workload := s.workload(component.name, to.hash)) is not None
        and len(s.pods_of(to.hash, component.name)) >= workload.replicas
        for component in served_components(to)
    )


def _everywhere(job: JobState) -> bool:
    """Two of its pods may have come onto one node, one after the other: then another node has none."""
    return job.succeeded and len(job.nodes) >= job.completions


def _told(job: JobState) -> str:
    said = f" ({job.message})" if job.message else ""
    return f"Job {job.name} is done on {len(job.nodes)} of {job.completions} node(s){said}"
