"""Before anything of a candidate is made: whether all of it will find a place beside what serves."""

from datetime import timedelta

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.sizing import SurgeNodes
from conductor.api.spec import Handover
from conductor.api.status import Outcome
from conductor.domain.phases.context import Context
from conductor.domain.pods import wanted_replicas
from conductor.domain.revision import render_deployment
from conductor.domain.room import Lack, Need, node_lack, quota_lack
from conductor.domain.situation import Failing, Waiting

#: Other namespaces' pods wake nobody here.
_POLL = timedelta(seconds=5)


def room_for_all(context: Context) -> Failing | Waiting | None:
    """A candidate of which half is scheduled takes room from what serves, and never gets ready.

    None where it fits, where nothing may be read, and on a first install, which takes room from nobody.
    """
    s, room = context.s, context.s.room
    if room is None or context.from_ is None:
        return None
    needs = _needs(context)
    lack = quota_lack(room.quotas or (), needs)
    if lack is None and context.spec.surge.nodes is SurgeNodes.PRESENT:
        lack = node_lack(room.nodes, needs)
        if lack is not None:
            lack = Lack(
                f"{lack.says}. Where nodes are added when pods ask for them: spec.surge.nodes: OnDemand",
                lack.passing,
            )
    if lack is None:
        return None
    deadline = context.upgrade.started_at + context.spec.deadlines.bring_up
    if lack.passing and s.now < deadline:
        said = f"held for a while, by pods on their way out or by other upgrades: {lack.says}"
        return Waiting(Reason.WAITING_FOR_ROOM, said, min(s.now + _POLL, deadline))
    word = f"{names.ANNOTATION_RETRY}={context.upgrade.id}"
    said = (
        f"nothing looks for room again by itself: once there is some, annotate {word}, or change the template"
    )
    return Failing(Reason.NO_ROOM, f"{lack.says}; {said}", Outcome.REFUSED)


def _needs(context: Context) -> list[Need]:
    """What the candidate asks for beside what of it runs already; exclusive workers begin when the former have gone."""
    s, to, needs = context.s, context.to, list[Need]()
    for component in to.spec.components:
        amount = s.room.asks.get(component.name) if s.room else None
        if amount is None or component.effective_handover is Handover.EXCLUSIVE:
            continue
        running = sum(pod.component == component.name for pod in s.pods_of(to.hash))
        wanted = wanted_replicas(s, component.name, to, context.from_)
        manifest = render_deployment(
            s.name, s.namespace, to, component, colour=context.upgrade.to_colour, replicas=0
        )
        if wanted > running:
            needs.append(Need(component.name, wanted - running, amount, manifest["spec"]["template"]))
    return needs
