"""Which provider leads a release's users now: the one place that asks for `spec.traffic.provider`."""

from typing import Any

from conductor.api.reasons import Reason
from conductor.api.spec import ReleaseSpec, TrafficProvider
from conductor.api.status import Phase
from conductor.domain.revision import Revision
from conductor.domain.situation import Acting, Waiting
from conductor.domain.snapshot import RouteGap, Snapshot, policy
from conductor.domain.traffic.backends import Backends
from conductor.domain.traffic.gateway import GatewayTraffic
from conductor.domain.traffic.patches import giving_back
from conductor.domain.traffic.provider import Traffic
from conductor.domain.traffic.services import ServiceTraffic


def traffic_of(s: Snapshot) -> Traffic:
    """The provider of the upgrade under way, or of the release at rest.

    An upgrade keeps the routes that it took when it began: whoever changes the provider in the middle of it changes
    the next one.
    """
    upgrade = s.status.upgrade
    names = list(s.status.traffic.routes)
    if upgrade is None or s.status.phase is Phase.PREFLIGHT:
        asked = s.revision(upgrade.to_revision if upgrade else s.status.active_revision)
        names += [name for name in named_routes(policy(s, asked)) if name not in names] if asked else []
    return GatewayTraffic(s, tuple(names)) if names else ServiceTraffic(s)


def lead_all(s: Snapshot, revision: Revision, message: str, changes: dict[str, Any]) -> Acting | Waiting:
    """Lead all users to a revision to which not all of them are led; a person is asked where that cannot be done."""
    traffic = traffic_of(s)
    switch = traffic.switch_to(revision)
    if not switch.moves:
        return Waiting(Reason.ROUTE_UNUSABLE, traffic.hindrance() or "no traffic can be moved", stalled=True)
    return Acting(switch, Reason.SWITCHING, message, changes)


def named_routes(spec: ReleaseSpec) -> tuple[str, ...]:
    """Routes by which that spec wants users to be moved."""
    traffic = spec.traffic
    if traffic.provider is not TrafficProvider.GATEWAY_API:
        return ()
    return tuple(route.name for route in traffic.routes)


def owners_routes(s: Snapshot, revision: Revision) -> Acting | None:
    """Give routes in our hand back as their owner wrote them; None where they are."""
    given = traffic_of(s).give_back(revision) if s.status.traffic.routes else None
    if given is None:
        return None
    names = ", ".join(patch.route for patch in given.routes)
    return Acting(given, Reason.GIVING_ROUTES_BACK, f"HTTPRoute {names} is as its owner wrote it again")


def still_in_hand(s: Snapshot) -> tuple[str, ...]:
    """Routes of a release at rest that were not given back yet."""
    names = s.status.traffic.routes
    if not names or s.active is None:
        return names
    away = {patch.route for patch in giving_back(Backends(s, names), s.active)}
    return tuple(name for name in names if name in away or s.route_gaps.get(name) is RouteGap.FORBIDDEN)
