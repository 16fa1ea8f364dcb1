"""`consistency: Strict`: components call each other by Services of their own colour, and one object leads users.

A pod learns its colour from its own label, which no phase ever changes. So a transaction goes on in the colour of the
edge pod that it came in by, whatever other Services select meanwhile, and one write moves all of them.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from conductor.api.names import LABEL_COLOUR, ROLE_COLOUR, colour_service_name
from conductor.api.reasons import Reason
from conductor.api.spec import Colour, Component, Consistency, ReleaseSpec
from conductor.domain.effects import CreateObject, ServicePatch, SwitchServices
from conductor.domain.manifests import colour_service
from conductor.domain.revision import Revision
from conductor.domain.routing import listed_gap, services_of
from conductor.domain.situation import Acting
from conductor.domain.snapshot import Snapshot, policy, served_components
from conductor.domain.traffic.backends import Backends
from conductor.domain.traffic.patches import colour_patch

#: What a container's environment, or all labels in a file, are written from.
_TELLS_COLOUR = frozenset({f"metadata.labels['{LABEL_COLOUR}']", "metadata.labels"})
HOW_TO_READ = (
    "give its container env: [{name: COLOUR, valueFrom: {fieldRef: {fieldPath: "
    f"\"metadata.labels['{LABEL_COLOUR}']\"}}}}}}]"
)


def is_strict(s: Snapshot) -> bool:
    """Whether the upgrade under way, or the release at rest, is to lead every transaction through one colour."""
    return _strict(_spec(s))


def edge_services(s: Snapshot, revision: Revision) -> frozenset[str]:
    """Services by which users come in; all of them where nothing names an edge."""
    spec, every = _spec(s), frozenset(service.name for _, service in services_of(revision))
    if spec is None or not _strict(spec):
        return every
    if routes := _routes(s, spec):
        return frozenset(met.own.service for met in Backends(s, routes).met(revision)) or every
    named = spec.traffic.edge
    return frozenset({named}) if named is not None and named in every else every


def edge_components(s: Snapshot, revision: Revision) -> frozenset[str]:
    """Components whose pods users meet first."""
    edges = edge_services(s, revision)
    return frozenset(component.name for component, service in services_of(revision) if service.name in edges)


def ramped_services(s: Snapshot, to: Revision) -> frozenset[str]:
    """Services whose shares are moved in a ramp: behind the edge each pod's colour decides."""
    whole = frozenset(service.name for _, service in services_of(to))
    return edge_services(s, to) if is_strict(s) and knows_its_colour(s, to) else whole


def knows_its_colour(s: Snapshot, revision: Revision) -> bool:
    """Whether pods that users meet first can know by which Services to go on."""
    if revision.adopted is not None:
        return False
    served = served_components(revision)
    edges = edge_components(s, revision)
    return len(served) < 2 or any(_reads_colour(item) for item in served if item.name in edges)


def by_colour(s: Snapshot, revision: Revision) -> bool:
    """Whether pods of that revision may call by the Services of their colour, so that these have to be right."""
    if revision.adopted is not None:
        return False
    if is_strict(s) or _strict(revision.spec):
        return True
    if not any(_reads_colour(component) for component in served_components(revision)):
        return False
    # Strict was taken out of the spec, not of the templates. Colours of what a route leads to are the provider's.
    spec = _spec(s)
    routes = _routes(s, spec) if spec is not None else ()
    led = {met.own.service for met in Backends(s, routes).met(revision)}
    own = (s.name, ROLE_COLOUR)
    return any(
        (state := s.services.get(colour_service_name(service.name, colour))) is not None
        and (state.release, state.role) == own
        for _, service in services_of(revision)
        if service.name not in led
        for colour in Colour
    )


def upheld(
    s: Snapshot, revision: Revision, colour: Colour, reason: Reason, leave: Collection[str] = ()
) -> Acting | None:
    """The next move that makes every Service of that colour lead to that revision; None where each does.

    `leave`: Services whose colours are the provider's to make. One that somebody else made is left as it is.
    """
    if not by_colour(s, revision):
        return None
    for component, service in services_of(revision):
        if service.name in leave:
            continue
        name = colour_service_name(service.name, colour)
        state = s.services.get(name)
        if state is None:
            manifest = colour_service(s, revision, component, service, colour)
            said = f"creating Service {name}, by which pods of {revision.version} call each other"
            return Acting(CreateObject(manifest), reason, said)
        if (patch := colour_patch(Backends(s, ()), state, revision, component, service)) is not None:
            return Acting(
                SwitchServices((patch,), s.epoch), reason, f"pointing Service {name} at {revision.version}"
            )
    return None


def routed(s: Snapshot, from_: Revision, to: Revision) -> frozenset[str]:
    """Services of `to` that routes lead to, and whose colours the provider makes."""
    spec = _spec(s)
    names = _routes(s, spec) if spec is not None else ()
    return frozenset(service.name for _, service in Backends(s, names).routed(to, from_))


def behind_gap(s: Snapshot, revision: Revision, colour: Colour) -> str | None:
    """Why calls within that colour would not find exactly its ready pods; None where they would."""
    if not by_colour(s, revision):
        return None
    for component, service in services_of(revision):
        name = colour_service_name(service.name, colour)
        if (gap := listed_gap(s, name, revision, component)) is not None:
            return gap
    return None


def in_order(s: Snapshot, revision: Revision, patches: tuple[ServicePatch, ...]) -> tuple[ServicePatch, ...]:
    """The edge first: whoever comes in by it goes on by colour. Last where the version behind it calls by no colour."""
    if not is_strict(s):
        return patches
    edges, known = edge_services(s, revision), knows_its_colour(s, revision)
    return tuple(sorted(patches, key=lambda patch: (patch.service in edges) is not known))


def names_taken(s: Snapshot, to: Revision) -> tuple[Reason, str] | None:
    """A colour's Service that somebody else made leads where they like."""
    for component, service in services_of(to) if is_strict(s) else ():
        for colour in Colour:
            name = colour_service_name(service.name, colour)
            state = s.services.get(name)
            if state is not None and (state.release, state.role) != (s.name, ROLE_COLOUR):
                return (
                    Reason.FOREIGN_SERVICE,
                    f"spec.components[{component.name}].services[].name: Service {name} was not made by this operator "
                    f"for that, and spec.traffic.consistency Strict needs that name for the {colour} of "
                    f"{service.name}; delete it, or choose another name",
                )
    return None


def unattainable(s: Snapshot, to: Revision) -> tuple[Reason, str] | None:
    """What the candidate's templates show to be against the Strict of its own spec; more is not found."""
    if not _strict(policy(s, to)):
        return None
    if not knows_its_colour(s, to):
        [edge, *_] = sorted(edge_components(s, to))
        return (
            Reason.STRICT_UNATTAINABLE,
            f"spec.traffic.consistency: Strict, and no container of component {edge}, which users meet first, is told "
            f"the colour of its pod, so that none can call by it; {HOW_TO_READ}, and let it call SERVICE-$(COLOUR)",
        )
    if (found := _plain_call(s, to)) is not None:
        component, service, text = found
        return (
            Reason.STRICT_UNATTAINABLE,
            f"spec.components[{component}].template: {text!r} calls Service {service}, which leads to one colour for "
            f"pods of both, and spec.traffic.consistency is Strict; {HOW_TO_READ}, and let it call "
            f"{service}-$(COLOUR)",
        )
    return None


def not_yet(s: Snapshot, from_: Revision | None, to: Revision) -> str:
    """Why this upgrade may still show mixed pairs although Strict is asked for; empty where it shows none."""
    if from_ is None or not is_strict(s):
        return ""
    unaware = [item.version for item in (from_, to) if not knows_its_colour(s, item)]
    if not unaware:
        return ""
    return (
        f"not yet strict: pods of {unaware[0]} do not call by their colour, so that clients which they hold may meet "
        "both versions in one transaction until they are shed"
    )


def _strict(spec: ReleaseSpec | None) -> bool:
    return spec is not None and spec.traffic.consistency is Consistency.STRICT


def _spec(s: Snapshot) -> ReleaseSpec | None:
    """The spec that says how users are led now: that of the version that comes, unless only the live one is Strict.

    A kept version may come again that was recorded before anybody asked for Strict.
    """
    upgrade = s.status.upgrade
    asked = s.revision(upgrade.to_revision if upgrade else s.status.active_revision)
    known = [s.spec, policy(s, asked) if asked is not None else None]
    if upgrade is not None:
        known.reverse()
    given = [spec for spec in known if spec is not None]
    return next((spec for spec in given if _strict(spec)), given[0] if given else None)


def _routes(s: Snapshot, spec: ReleaseSpec) -> tuple[str, ...]:
    return tuple(sorted({*s.status.traffic.routes, *(route.name for route in spec.traffic.routes)}))


def _reads_colour(component: Component) -> bool:
    return any(path in _TELLS_COLOUR for path in _values(component.template.get("spec") or {}, "fieldPath"))


def _plain_call(s: Snapshot, to: Revision) -> tuple[str, str, str] | None:
    """Component, Service and text of the first call by a URL that names an internal Service itself."""
    edges = edge_services(s, to)
    internal = {
        service.name: component.name for component, service in services_of(to) if service.name not in edges
    }
    if not internal:
        return None
    url = re.compile(rf"//({'|'.join(map(re.escape, sorted(internal)))})(?=[:/.]|$)")
    for component in served_components(to):
        for text in _texts(component.template.get("spec") or {}):
            met = url.search(text)
            if met is not None and internal[met.group(1)] != component.name:
                return component.name, met.group(1), text
    return None


def _texts(pod: Mapping[str, Any]) -> Iterator[str]:
    """What containers are started with."""
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        for key in ("command", "args"):
            yield from (str(item) for item in container.get(key) or [])
        yield from (str(item.get("value") or "") for item in container.get("env") or [])


def _values(node: Any, key: str) -> Iterator[Any]:
    if isinstance(node, Mapping):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from _values(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from _values(item, key)
