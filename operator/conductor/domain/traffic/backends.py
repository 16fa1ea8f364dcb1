"""What a release's routes and the Services behind them show: where every backend of the release leads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conductor.api.names import colour_service_name
from conductor.api.spec import Colour, Component, ComponentService
from conductor.domain.revision import Revision, steady_selector
from conductor.domain.routing import listed_gap, services_of
from conductor.domain.snapshot import RouteGap, RouteState, Snapshot
from conductor.domain.traffic.rules import WHOLE, Own, own, own_backends, weight_of


@dataclass(frozen=True)
class Met:
    """One backend of the release: in which rule of which route it stands, and what it is to the release."""

    route: RouteState
    rule: int
    backend: Mapping[str, Any]
    own: Own

    @property
    def name(self) -> str:
        return str(self.backend.get("name"))

    @property
    def weight(self) -> int:
        return weight_of(self.backend)


@dataclass(frozen=True)
class Backends:
    """The routes of these names, as one snapshot shows them."""

    s: Snapshot
    names: tuple[str, ...]

    def colour(self, revision: Revision) -> Colour:
        """The colour that a revision has in this upgrade, or at rest."""
        upgrade = self.s.status.upgrade
        if upgrade is None:
            return self.s.status.traffic.current or Colour.BLUE
        if revision.hash == upgrade.to_revision:
            return upgrade.to_colour
        return upgrade.from_colour or upgrade.to_colour.other

    def everything_on(self, from_: Revision, to: Revision) -> dict[str, dict[Colour, int]]:
        """Weights for Services that both versions have, with everything on the former one."""
        both = {service.name for _, service in services_of(from_)}
        both &= {service.name for _, service in services_of(to)}
        return {name: {self.colour(from_): WHOLE, self.colour(to): 0} for name in sorted(both)}

    def known(self, *revisions: Revision) -> dict[str, Own]:
        """Every name by which a backend of these revisions is known."""
        services = {service.name for revision in revisions for _, service in services_of(revision)}
        return own_backends(sorted(services))

    def shared(self, from_: Revision, to: Revision) -> dict[str, Own]:
        """The same of Services that both versions have: only these have one of their own for each colour."""
        return own_backends(sorted(self.everything_on(from_, to)))

    def routes(self) -> Iterator[RouteState]:
        """Routes that are there."""
        return (self.s.routes[name] for name in self.names if name in self.s.routes)

    def met(self, *revisions: Revision) -> Iterator[Met]:
        """Every backend of these revisions by which users are led; who asks for the candidate is led beside them."""
        known = self.known(*revisions)
        for route in self.routes():
            for index, rule in enumerate(route.rules):
                for backend in () if rule.preview else rule.backends:
                    if (found := own(backend, known, self.s.namespace)) is not None:
                        yield Met(route, index, backend, found)

    def previewed(self) -> frozenset[str]:
        """Names of Services to which requests are led that ask for the candidate."""
        rules = [rule for route in self.routes() for rule in route.rules if rule.preview]
        return frozenset(str(backend.get("name")) for rule in rules for backend in rule.backends)

    def preview_refusal(self) -> str | None:
        """What a Gateway says against a route as it stands with rules for previews; None where none says anything."""
        for route in self.routes():
            for parent in route.parents if any(rule.preview for rule in route.rules) else ():
                refused = "" if parent.accepted and parent.resolved else parent.message
                if parent.generation >= route.generation and (said := refused or parent.dropped):
                    return (
                        f"Gateway {parent.gateway} does not take in HTTPRoute {route.name} with them ({said})"
                    )
        return None

    def by_rule(self, *revisions: Revision) -> list[list[Met]]:
        """The same, rule by rule."""
        rules: dict[tuple[str, int], list[Met]] = {}
        for met in self.met(*revisions):
            rules.setdefault((met.route.name, met.rule), []).append(met)
        return list(rules.values())

    def routed(self, revision: Revision, other: Revision) -> list[tuple[Component, ComponentService]]:
        """Services of a revision that a route leads to and that the other version has as well."""
        led = {met.own.service for met in self.met(revision, other)}
        both = {service.name for _, service in services_of(other)}
        return [
            (component, service)
            for component, service in services_of(revision)
            if service.name in led and service.name in both
        ]

    def leads(self, met: Met, revision: Revision) -> bool:
        """Whether a backend leads to that revision and to no other."""
        state = self.s.services.get(met.name)
        component = next((c for c, service in services_of(revision) if service.name == met.own.service), None)
        if state is None or component is None:
            return False
        wanted = steady_selector(self.s.name, component, revision, met.own.service)
        return wanted.items() <= dict(state.selector).items()

    def lead_only_to(self, revision: Revision) -> bool:
        """Whether every route leads to that revision and to no other. A route that is not there leads nowhere."""
        if any(self.s.route_gaps.get(name) is RouteGap.FORBIDDEN for name in self.names):
            return False
        return all(self.leads(met, revision) for met in self.met(revision) if met.weight)

    def one_leads_to(self, revision: Revision) -> bool:
        """Whether a route leads to that revision by its colour, be it among others."""
        coloured = (met for met in self.met(revision) if met.own.colour is not None and met.weight)
        return any(self.leads(met, revision) for met in coloured)

    def endpoints_gap(self, revision: Revision, other: Revision) -> str | None:
        """Why a colour's Service that a route names does not hold exactly that revision's ready pods."""
        named = {met.name for met in self.met(revision)}
        for component, service in self.routed(revision, other):
            name = colour_service_name(service.name, self.colour(revision))
            if name in named and (gap := listed_gap(self.s, name, revision, component)) is not None:
                return gap
        return None

    def status_gap(self) -> str | None:
        """Why no controller has said yet that it took in the routes as they are now."""
        for route in self.routes():
            if not route.gateways:
                return f"HTTPRoute {route.name} names no Gateway in its parentRefs"
            silent = sorted(set(route.gateways) - {parent.gateway for parent in route.parents})
            if silent:
                return f"Gateway {silent[0]} does not answer for HTTPRoute {route.name}"
            for parent in route.parents:
                if parent.generation < route.generation:
                    return f"Gateway {parent.gateway} has not taken in HTTPRoute {route.name} yet"
                if not (parent.accepted and parent.resolved):
                    return (
                        f"Gateway {parent.gateway} does not accept HTTPRoute {route.name}: {parent.message}"
                    )
        return None
