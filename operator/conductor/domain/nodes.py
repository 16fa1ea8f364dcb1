"""Which nodes still send new connections to pods that no Service lists any more.

Every node translates Service addresses by rules of its own, and a node whose proxy stands still goes on with
those that it has: its clients reach the losing pods although the EndpointSlices have long forgotten them. Until
every node is known to follow, none of these pods is taken away.

How a node is asked (`runtime.node_proof`): the operator writes an EndpointSlice of its own after those of the
release were seen to be right, and connects to that Service through the node. A node that shows the new endpoint
has taken in every earlier change as well.
"""

from datetime import datetime, timedelta

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.revision import Revision
from conductor.domain.routing import PROXY_SETTLE, proxies_settled, services_of
from conductor.domain.situation import Waiting
from conductor.domain.snapshot import NodeState, Snapshot
from conductor.domain.traffic.choice import traffic_of

#: Kubernetes gives the pods of such a node up by then (the default toleration of not-ready nodes).
UNREADY_PATIENCE = timedelta(minutes=5)
#: What the watches show is a moment old; a switch that was taken back at once must not be seen without its end.
_ASK_AFTER = timedelta(seconds=0.2)
#: Longer than any healthy proxy takes, so that every upgrade would not tell of nodes that are behind.
_USUAL = timedelta(seconds=5)
#: A proxy that was only started anew follows long before; this one waits for a person.
_STALL_AFTER = timedelta(minutes=2)
#: Samples wake the release; this is for one that was missed.
_POLL = timedelta(seconds=2)
_SHOWN = 3
_TAKING_OVER = "node proxies take over the new endpoints"
_ASKED = frozenset({Phase.SOAKING, Phase.CLOSING, Phase.ROLLING_BACK})


def question(s: Snapshot) -> str:
    """What the nodes are to be asked now: whether they left the losing revision. Empty: nothing.

    Asked once the EndpointSlices are right, so that whatever is written after this is newer than they are.
    """
    upgrade = s.status.upgrade
    if upgrade is None or s.status.phase not in _ASKED:
        return ""
    back = s.status.phase is Phase.ROLLING_BACK
    target = s.revision(upgrade.from_revision if back else upgrade.to_revision)
    losing = upgrade.to_revision if back else upgrade.from_revision
    since = _switched(s)
    if since is None or s.now - since < _ASK_AFTER:
        return ""
    if target is None or not losing or not traffic_of(s).leads_only_to(target):
        return ""
    gone = {pod.name for pod in s.pods_of(losing)}
    listed = {
        endpoint.pod for _, service in services_of(target) for endpoint in s.endpoints.get(service.name, ())
    }
    # Whoever is sent to the losing revision once more has to be seen to leave it once more.
    return "" if gone & listed else f"{upgrade.id}/{losing}/{since.isoformat(timespec='milliseconds')}"


def unless_followed(s: Snapshot, losing: Revision, reason: Reason) -> Waiting | None:
    """The wait for node proxies before a pod of `losing` may go; None once no node sends anybody there."""
    since = _switched(s)
    if since is None or not proxies_settled(s, since):
        looks = (since + wait for wait in (_ASK_AFTER, PROXY_SETTLE)) if since is not None else ()
        until = next((at for at in looks if at > s.now), None)
        return Waiting(reason, _TAKING_OVER, until)
    if s.nodes is None or not s.nodes.usable:
        return None
    if not (asked := question(s)) or s.nodes.question != asked:
        return Waiting(reason, _TAKING_OVER, s.now + _POLL)
    behind = [node for node in s.nodes.nodes if not node.follows and not _given_up(s, node)]
    if not behind:
        return None
    if s.now - since < _USUAL:
        return Waiting(reason, _TAKING_OVER, s.now + _POLL)
    shown = ", ".join(f"{node.name} ({node.seen})" for node in behind[:_SHOWN])
    more = f" and {len(behind) - _SHOWN} more" if len(behind) > _SHOWN else ""
    late = s.now - since >= _STALL_AFTER
    mend = (
        "; see whether kube-proxy runs there, or, where nobody connects through that node, label it "
        f"{names.LABEL_NODE_PROOF}={names.NODE_PROOF_IGNORE}"
    )
    return Waiting(
        Reason.NODES_BEHIND,
        f"clients on {len(behind)} node(s) may still reach {losing.version}, so none of its pods goes: "
        f"{shown}{more}{mend if late else ''}",
        s.now + _POLL,
        stalled=late,
    )


def _switched(s: Snapshot) -> datetime | None:
    """When traffic was last moved in this upgrade, forward or back."""
    upgrade = s.status.upgrade
    if upgrade is None:
        return None
    return upgrade.switched_back_at if s.status.phase is Phase.ROLLING_BACK else upgrade.switched_at


def _given_up(s: Snapshot, node: NodeState) -> bool:
    return node.unready_since is not None and s.age(node.unready_since) >= UNREADY_PATIENCE
