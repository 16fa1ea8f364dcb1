"""Whether routes can lead users from one version to another: what is refused before anything of a candidate runs."""

from collections.abc import Iterator

from conductor.api.names import colour_service_name
from conductor.api.spec import Colour
from conductor.domain.revision import Revision
from conductor.domain.routing import services_of
from conductor.domain.snapshot import RouteGap, RouteRule, RouteState, policy
from conductor.domain.traffic.backends import Backends, Met
from conductor.domain.traffic.previews import mark_of, misfit
from conductor.domain.traffic.rules import own


def unfit(backends: Backends, from_: Revision, to: Revision) -> str | None:
    """The first thing that is wrong with the routes that the spec names: field, value and mend; None where all fit."""
    return next(_findings(backends, from_, to), None)


def _findings(backends: Backends, from_: Revision, to: Revision) -> Iterator[str]:
    s, preview = backends.s, policy(backends.s, to).traffic.preview
    for index, name in enumerate(backends.names):
        field = f"spec.traffic.routes[{index}].name: HTTPRoute {name}"
        match s.route_gaps.get(name):
            case RouteGap.NOT_SERVED:
                yield (
                    f"{field}: this cluster serves no HTTPRoutes of gateway.networking.k8s.io/v1; install the Gateway "
                    "API's CRDs, or set spec.traffic.provider to Service"
                )
            case RouteGap.FORBIDDEN:
                yield (
                    f"{field}: the operator may not get and patch it; let it get and patch httproutes of "
                    f"gateway.networking.k8s.io in namespace {s.namespace}: the chart does with gatewayAPI.enabled=true"
                )
            case RouteGap.MISSING:
                yield (
                    f"{field} does not exist in namespace {s.namespace}; create it with a backend on a Service of this "
                    "release, or correct the name"
                )
        if (route := s.routes.get(name)) is not None:
            yield from _in_route(backends, route, field, from_, to)
            if preview is not None:
                yield from misfit(route, backends.shared(from_, to), s.namespace, mark_of(preview), field)
    yield from _taken_names(backends, from_, to)


def _in_route(
    backends: Backends, route: RouteState, field: str, from_: Revision, to: Revision
) -> Iterator[str]:
    ours = {service.name for _, service in services_of(to)}
    found = [met for met in backends.met(from_, to) if met.route.name == route.name]
    gone = sorted({met.own.service for met in found} - ours)
    if gone:
        yield f"{field} leads to Service {gone[0]}, which {to.version} does not have; take it out of the route"
    if not found:
        others = sorted({str(backend.get("name")) for rule in route.rules for backend in rule.backends})
        yield (
            f"{field} leads to {', '.join(others) or 'nothing'}, and to no Service of this release "
            f"({', '.join(sorted(ours))}); give a rule of it one of these as its backend, or take the route out of the "
            "spec"
        )
    for index, rule in enumerate(route.rules):
        of_rule = [met for met in found if met.rule == index]
        if of_rule:
            yield from _in_rule(backends, rule, f"{field}, rules[{index}]", of_rule, (from_, to))


def _in_rule(
    backends: Backends, rule: RouteRule, field: str, found: list[Met], versions: tuple[Revision, Revision]
) -> Iterator[str]:
    from_, known = versions[0], backends.known(*versions)
    others = [
        str(backend.get("name"))
        for backend in rule.backends
        if own(backend, known, backends.s.namespace) is None
    ]
    services = sorted({met.own.service for met in found})
    if others or len(services) > 1:
        yield (
            f"{field} leads to {', '.join([*services, *others])} side by side, so that a weight of one would move "
            "users of the others; give each a rule of its own"
        )
    if rule.sticky:
        yield (
            f"{field}.sessionPersistence holds clients on the version that they met first, so that no weight would "
            "move them; take it out"
        )
    if not any(met.weight for met in found):
        yield f"{field}: its backend {found[0].name} has weight 0 and leads nobody; give it a weight"
    for revision in versions:
        for met in found:
            port = met.backend.get("port")
            declared = {
                item.port
                for _, service in services_of(revision)
                if service.name == met.own.service
                for item in service.ports
            }
            if declared and port not in declared:
                yield (
                    f"{field}: its backend {met.name} has port {port}, and Service {met.own.service} of "
                    f"{revision.version} has {', '.join(map(str, sorted(declared)))}; correct it"
                )
    # A Service of its own for every colour that is led to before it is proven would lead there unproven.
    astray = [met.name for met in found if met.weight and met.own.colour and not backends.leads(met, from_)]
    if astray:
        yield (
            f"{field}: its backend {astray[0]} does not lead to {from_.version}, which serves; name Service "
            f"{services[0]} there, which the operator leads to what serves"
        )


def _taken_names(backends: Backends, from_: Revision, to: Revision) -> Iterator[str]:
    for _, service in backends.routed(to, from_):
        for colour in Colour:
            name = colour_service_name(service.name, colour)
            state = backends.s.services.get(name)
            if state is not None and state.release != backends.s.name:
                yield (
                    f"spec.components[].services[].name: Service {name} is somebody else's, and routes need that name "
                    f"for the {colour} of {service.name}; delete it, or choose another name"
                )
