"""Writes of routes and of the colours' own Services, computed from what is there."""

from collections.abc import Mapping
from typing import Any

from conductor.api.names import ROLE_COLOUR, colour_service_name
from conductor.api.spec import Colour, Component, ComponentService
from conductor.domain.effects import RoutePatch, ServicePatch
from conductor.domain.manifests import service_ports
from conductor.domain.revision import Revision, steady_selector
from conductor.domain.snapshot import RouteRule, RouteState, ServiceState
from conductor.domain.traffic.backends import Backends
from conductor.domain.traffic.previews import Mark, preview_rules, record
from conductor.domain.traffic.rules import (
    Own,
    given_back,
    keep,
    kept_of,
    own,
    renumbered,
    told,
    weighed,
)

Weights = Mapping[str, Mapping[Colour, int]]


def weighing(
    backends: Backends, weights: Weights, *revisions: Revision, previews: bool = True
) -> tuple[RoutePatch, ...]:
    """Routes whose rules are to lead to these Services by colour, at these weights; none that do already.

    `previews`: rules for them stay where they stand.
    """
    s, known = backends.s, backends.known(*revisions)
    patches = []
    for route in backends.routes():
        new = {index: weighed(rule, known, s.namespace, weights) for index, rule in _owners(route)}
        if changed := _changed(route, new):
            ours = [
                index
                for index, rule in _owners(route)
                if any(own(backend, known, s.namespace) for backend in rule.backends)
            ]
            kept = keep(route, known, s.namespace, ours)
            removed = () if previews else _previews(route)
            patches.append(_patch(route, known, s.namespace, changed, kept, removed=removed))
    return tuple(patches)


def previewing(backends: Backends, mark: Mark, from_: Revision, to: Revision) -> tuple[RoutePatch, ...]:
    """Routes on which requests with that mark are to be led to `to`; none that lead them there already."""
    s, known, colour = backends.s, backends.shared(from_, to), backends.colour(to)
    patches = []
    for route in backends.routes():
        rules = preview_rules(route.rules, known, s.namespace, mark, colour)
        kept, there = record(mark, known, rules), _previews(route)
        led = [[backend.get("name") for backend in route.rules[index].backends] for index in there]
        wanted = [[backend["name"] for backend in rule["backendRefs"]] for rule in rules]
        if rules and (kept, wanted) != (route.preview, led):
            patches.append(
                _patch(route, known, s.namespace, {}, route.kept, removed=there, appended=rules, preview=kept)
            )
    return tuple(patches)


def without_previews(backends: Backends, *revisions: Revision) -> tuple[RoutePatch, ...]:
    """Routes that are to lead nobody any more who asks for the candidate; none that lead none."""
    known = backends.known(*revisions)
    return tuple(
        _patch(route, known, backends.s.namespace, {}, route.kept, removed=_previews(route))
        for route in backends.routes()
        if route.preview
    )


def giving_back(backends: Backends, revision: Revision, *, astray: bool = False) -> tuple[RoutePatch, ...]:
    """Routes that are to be as their owner wrote them. `astray`: only those that do not lead to that revision."""
    s, known = backends.s, backends.known(revision)
    strayed = {
        met.route.name for met in backends.met(revision) if met.weight and not backends.leads(met, revision)
    }
    patches = []
    for route in backends.routes():
        kept = kept_of(route)
        new = {
            index: given_back(rule, known, s.namespace, kept.get(index, [])) for index, rule in _owners(route)
        }
        changed = _changed(route, new)
        if (changed or route.kept or route.preview) and not (astray and route.name not in strayed):
            removed = _previews(route)
            patches.append(
                _patch(route, known, s.namespace, changed, None if route.kept else "", removed=removed)
            )
    return tuple(patches)


def colour_patches(backends: Backends, from_: Revision, to: Revision) -> tuple[ServicePatch, ...]:
    """Colours' Services that somebody pointed elsewhere."""
    patches = []
    for revision, other in ((from_, to), (to, from_)):
        for component, service in backends.routed(revision, other):
            name = colour_service_name(service.name, backends.colour(revision))
            state = backends.s.services.get(name)
            if state is None:
                continue
            if (patch := colour_patch(backends, state, revision, component, service)) is not None:
                patches.append(patch)
    return tuple(patches)


def colour_patch(
    backends: Backends,
    state: ServiceState,
    revision: Revision,
    component: Component,
    service: ComponentService,
) -> ServicePatch | None:
    """What makes a colour's Service lead to that revision; None where it does, or is not ours."""
    s = backends.s
    if state.release != s.name or state.role != ROLE_COLOUR:
        return None
    selector = steady_selector(s.name, component, revision, service.name)
    ports = service_ports(service)
    same_ports = [_target(port) for port in state.ports] == [_target(port) for port in ports]
    if dict(state.selector) == selector and same_ports:
        return None
    return ServicePatch(
        service=state.name,
        resource_version=state.resource_version,
        selector=selector,
        former_selector=dict(state.selector),
        ports=() if same_ports else ports,
        former_ports=tuple(dict(port) for port in state.ports),
    )


def _target(port: Mapping[str, Any]) -> tuple[str, int, Any]:
    return port.get("name", ""), port["port"], port.get("targetPort", port["port"])


def _changed(
    route: RouteState, new: Mapping[int, tuple[dict[str, Any], ...]]
) -> dict[int, tuple[dict[str, Any], ...]]:
    return {
        index: backends
        for index, backends in new.items()
        if list(backends) != [dict(backend) for backend in route.rules[index].backends]
    }


def _owners(route: RouteState) -> list[tuple[int, RouteRule]]:
    return [(index, rule) for index, rule in enumerate(route.rules) if not rule.preview]


def _previews(route: RouteState) -> tuple[int, ...]:
    return tuple(index for index, rule in enumerate(route.rules) if rule.preview)


def _patch(
    route: RouteState,
    known: Mapping[str, Own],
    namespace: str,
    changed: Mapping[int, tuple[dict[str, Any], ...]],
    kept: str | None,
    *,
    removed: tuple[int, ...] = (),
    appended: tuple[dict[str, Any], ...] = (),
    preview: str = "",
) -> RoutePatch:
    """`removed` and `appended`: rules for previews. Where none is left, what they are known by goes as well."""
    after = [
        changed.get(index, rule.backends) for index, rule in enumerate(route.rules) if index not in removed
    ]
    after += [tuple(rule["backendRefs"]) for rule in appended]
    led = {
        found.service
        for index in changed
        for backend in route.rules[index].backends
        if (found := own(backend, known, namespace)) is not None
    }
    kept = renumbered(kept, removed) if kept else kept
    none_left = route.preview and not appended and len(removed) == len(_previews(route))
    touched = none_left or removed or appended
    return RoutePatch(
        route=route.name,
        resource_version=route.resource_version,
        generation=route.generation,
        services=tuple(sorted(led)),
        backends=changed,
        former_backends={
            index: tuple(dict(backend) for backend in route.rules[index].backends) for index in changed
        },
        kept="" if kept == route.kept else kept,
        former_kept=route.kept,
        told=told(after),
        annotated=route.annotated,
        removed=removed,
        appended=appended,
        former_rules=tuple(rule.written for rule in route.rules) if touched else (),
        preview=None if none_left else preview,
        former_preview=route.preview,
    )
