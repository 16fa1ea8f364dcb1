"""Provider `GatewayAPI`: shares of users' requests, by the weights of HTTPRoutes that the spec names.

Every Service of the release that such a route leads to gets two Services more, one for each colour, and the route's
rule leads to both by weight: one write of the route moves a share. In-cluster clients of the Service itself are led as
with the provider `Service`, by the switch; they are not ramped. At rest a route is as its owner wrote it.
"""

from dataclasses import dataclass

from conductor.api.names import colour_service_name
from conductor.api.reasons import Reason
from conductor.api.spec import Colour, Component, ComponentService
from conductor.api.traffic import Preview
from conductor.domain.effects import CreateObject, SwitchServices, WeighRoutes
from conductor.domain.manifests import colour_service
from conductor.domain.revision import Revision
from conductor.domain.routing import listed_gap, services_of
from conductor.domain.situation import Acting, Waiting
from conductor.domain.snapshot import RouteGap, Snapshot
from conductor.domain.traffic.backends import Backends
from conductor.domain.traffic.fitness import unfit
from conductor.domain.traffic.patches import (
    colour_patch,
    colour_patches,
    giving_back,
    previewing,
    weighing,
    without_previews,
)
from conductor.domain.traffic.previews import mark_of, misfit
from conductor.domain.traffic.provider import Inexpressible
from conductor.domain.traffic.rules import WHOLE
from conductor.domain.traffic.services import ServiceTraffic


@dataclass(frozen=True)
class GatewayTraffic:
    """Users reach a revision through routes and Services. `names`: the routes that may be written."""

    s: Snapshot
    names: tuple[str, ...]

    # before anything runs

    def refusal(self, from_: Revision, to: Revision, *, ramped: bool) -> tuple[Reason, str] | None:  # noqa: ARG002
        """Each version has Services of its own here, so that their ports need not agree."""
        found = unfit(self._backends, from_, to)
        return (Reason.ROUTE_UNUSABLE, found) if found is not None else None

    def can_ramp(self, from_: Revision) -> bool:  # noqa: ARG002 - a Service can be made for any pods
        return True

    def hindrance(self) -> str | None:
        for name in self.names:
            gap = self.s.route_gaps.get(name)
            if gap is RouteGap.FORBIDDEN:
                return (
                    f"HTTPRoute {name} cannot be read or written: let the operator get and patch httproutes of "
                    f"gateway.networking.k8s.io in namespace {self.s.namespace}"
                )
            if gap is not None:
                return (
                    f"HTTPRoute {name} is gone while users are moved by it; create it again with its backends on the "
                    "Service of this release"
                )
        return None

    # moving

    def prepare(self, from_: Revision, to: Revision) -> Acting | Waiting | None:
        """A Service for each colour; the routes on both with everything on the old one; and their Gateways' consent."""
        backends = self._backends
        for component, service in backends.routed(from_, to):
            if (move := self._colour_service(from_, component, service)) is not None:
                return move
            if colour_service_name(service.name, backends.colour(to)) not in self.s.services:
                return self._creation(to, service.name)
        for component, service in backends.routed(from_, to):
            name = colour_service_name(service.name, backends.colour(from_))
            if (gap := listed_gap(self.s, name, from_, component)) is not None:
                return Waiting(Reason.PROVING_ROUTING, gap)
        # First the route, then the candidate's Service: what an earlier upgrade left may still name it.
        if routes := weighing(backends, backends.everything_on(from_, to), from_, to):
            return Acting(
                WeighRoutes((), self.s.epoch, routes),
                Reason.TAKING_ROUTES,
                f"HTTPRoute {', '.join(patch.route for patch in routes)} leads to {from_.version} by its colour",
            )
        for component, service in backends.routed(to, from_):
            if (move := self._colour_service(to, component, service)) is not None:
                return move
        gap = backends.status_gap()
        return None if gap is None else Waiting(Reason.PROVING_ROUTING, gap)

    def repair(self, from_: Revision, to: Revision) -> Acting | None:
        """A route that leads to a Service which is not there answers its users with errors."""
        backends = self._backends
        named = backends.previewed().union(met.name for met in backends.met(from_, to))
        for revision, other in ((from_, to), (to, from_)):
            for _, service in backends.routed(revision, other):
                name = colour_service_name(service.name, backends.colour(revision))
                if name in named and name not in self.s.services:
                    return self._creation(revision, service.name)
        return None

    def weigh(self, from_: Revision, to: Revision, percent: int) -> Acting | Waiting | Inexpressible | None:
        if (hindrance := self.hindrance()) is not None:
            until = self.s.status.upgrade.deadline if self.s.status.upgrade else None
            return Waiting(Reason.ROUTE_UNUSABLE, hindrance, until, stalled=True)
        if (mended := self._mended(from_, to)) is not None:
            return mended
        backends = self._backends
        weights = {
            name: {backends.colour(from_): WHOLE - percent, backends.colour(to): percent}
            for name in backends.everything_on(from_, to)
        }
        routes = weighing(backends, weights, from_, to)
        if not routes:
            return None
        if (gap := self._unready(from_, to)) is not None:
            return Waiting(Reason.PROVING_ROUTING, gap)
        return Acting(
            WeighRoutes((), self.s.epoch, routes),
            Reason.SWITCHING,
            f"moving {percent}% of requests",
            {"took_traffic": True, "step_at": None, "weighed_at": self.s.now, "green_share": percent},
        )

    def approach(self, from_: Revision, to: Revision) -> Acting | Waiting | None:
        if (mended := self._mended(from_, to)) is not None:
            return mended
        gap = self._unready(from_, to)
        return Waiting(Reason.PROVING_ROUTING, gap) if gap is not None else None

    def switch_to(self, revision: Revision) -> SwitchServices:
        there = self._services.leads_only_to(revision)
        services = () if there else self._services.switch_to(revision).patches
        backends, (from_, to) = self._backends, self._pair()
        if from_ is None or to is None:
            return SwitchServices(services, self.s.epoch, giving_back(backends, revision, astray=True))
        services = (*services, *colour_patches(backends, from_, to))
        if backends.lead_only_to(revision):
            return SwitchServices(services, self.s.epoch)
        names = backends.everything_on(from_, to)
        if any(colour_service_name(name, c) not in self.s.services for name in names for c in Colour):
            # Where a colour's own Service is gone, the one that is switched in the same breath will do.
            return SwitchServices(services, self.s.epoch, giving_back(backends, revision))
        colour = backends.colour(revision)
        weights = {name: {colour: WHOLE, colour.other: 0} for name in names}
        # Whoever asks for the candidate goes with everybody else, in the same write.
        return SwitchServices(services, self.s.epoch, weighing(backends, weights, from_, to, previews=False))

    def give_back(self, revision: Revision) -> SwitchServices | None:
        routes = giving_back(Backends(self.s, self.s.status.traffic.routes), revision)
        return SwitchServices((), self.s.epoch, routes) if routes else None

    # previews

    def preview_gap(self, from_: Revision, to: Revision, preview: Preview) -> str | None:
        backends, mark = self._backends, mark_of(preview)
        if (refused := backends.preview_refusal()) is not None:
            return f"{refused}; a Gateway need not know regular expressions, by which cookies are found: mark by header"
        known = backends.shared(from_, to)
        found = (
            misfit(route, known, self.s.namespace, mark, f"HTTPRoute {route.name}")
            for route in backends.routes()
        )
        return next((said for findings in found for said in findings), None)

    def preview(self, from_: Revision, to: Revision, preview: Preview) -> Acting | None:
        if (mended := self._mended(from_, to)) is not None:
            return mended
        backends, mark = self._backends, mark_of(preview)
        routes = previewing(backends, mark, from_, to)
        if not routes or self.hindrance() is not None or self._unready(from_, to) is not None:
            return None
        return Acting(
            WeighRoutes((), self.s.epoch, routes),
            Reason.PREVIEWING,
            f"requests with {mark.told} reach {to.version} by HTTPRoute {', '.join(patch.route for patch in routes)}",
        )

    def end_preview(self) -> Acting | None:
        backends = self._backends
        known = [revision for revision in self._pair() if revision is not None]
        routes = without_previews(backends, *known)
        if not routes:
            return None
        return Acting(
            WeighRoutes((), self.s.epoch, routes),
            Reason.GIVING_ROUTES_BACK,
            f"HTTPRoute {', '.join(patch.route for patch in routes)} leads nobody to the candidate who asks for it",
        )

    # reading

    def weight_gap(self, from_: Revision, to: Revision) -> str | None:
        return self._backends.endpoints_gap(to, from_) or self._backends.status_gap()

    def share(self, from_: Revision, to: Revision) -> int | None:
        """The largest share that a rule gives to `to`."""
        backends = self._backends
        shares = []
        for rule in backends.by_rule(from_, to):
            used = [met for met in rule if met.weight]
            led = [met for met in used if backends.leads(met, to)]
            if not used or not all(met in led or backends.leads(met, from_) for met in used):
                return None
            shares.append(WHOLE * sum(met.weight for met in led) // sum(met.weight for met in used))
        return max(shares, default=self._services.share(from_, to))

    def leads_only_to(self, revision: Revision) -> bool:
        return self._services.leads_only_to(revision) and self._backends.lead_only_to(revision)

    def may_lead_to(self, revision: Revision) -> bool:
        return self._services.may_lead_to(revision) or self._backends.one_leads_to(revision)

    def routing_gap(self, revision: Revision) -> str | None:
        gap = self._services.routing_gap(revision)
        return gap or self._backends.endpoints_gap(revision, revision) or self._backends.status_gap()

    # parts

    @property
    def _services(self) -> ServiceTraffic:
        return ServiceTraffic(self.s)

    @property
    def _backends(self) -> Backends:
        return Backends(self.s, self.names)

    def _pair(self) -> tuple[Revision | None, Revision | None]:
        """The two versions between which users are moved by routes; none at rest."""
        upgrade = self.s.status.upgrade
        if upgrade is None or not self.s.status.traffic.routes:
            return None, None
        return self.s.revision(upgrade.from_revision), self.s.revision(upgrade.to_revision)

    def _mended(self, from_: Revision, to: Revision) -> Acting | None:
        """Colours' Services first, where somebody pointed one elsewhere: a route is led by them."""
        patches = colour_patches(self._backends, from_, to)
        if not patches:
            return None
        names = ", ".join(patch.service for patch in patches)
        said = f"Service {names} was changed by somebody; pointing it at its own colour again"
        return Acting(SwitchServices(patches, self.s.epoch), Reason.REPAIRING, said)

    def _unready(self, from_: Revision, to: Revision) -> str | None:
        """Why users must not be given to `to` yet: a route is written only to what is seen to be behind it."""
        for component, service in self._backends.routed(to, from_):
            name = colour_service_name(service.name, self._backends.colour(to))
            if (gap := listed_gap(self.s, name, to, component)) is not None:
                return gap
        return None

    def _colour_service(
        self, revision: Revision, component: Component, service: ComponentService
    ) -> Acting | None:
        """The next move that makes a colour's Service lead to that revision."""
        name = colour_service_name(service.name, self._backends.colour(revision))
        state = self.s.services.get(name)
        if state is None:
            return self._creation(revision, service.name)
        patch = colour_patch(self._backends, state, revision, component, service)
        if patch is None:
            return None
        return Acting(
            SwitchServices((patch,), self.s.epoch),
            Reason.TAKING_ROUTES,
            f"pointing Service {name} at {revision.version}",
        )

    def _creation(self, revision: Revision, service: str) -> Acting:
        [(component, declared)] = [found for found in services_of(revision) if found[1].name == service]
        manifest = colour_service(self.s, revision, component, declared, self._backends.colour(revision))
        name = manifest["metadata"]["name"]
        return Acting(CreateObject(manifest), Reason.TAKING_ROUTES, f"creating Service {name}")
