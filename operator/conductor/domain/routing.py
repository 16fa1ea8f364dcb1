"""Where Services point, and the proof that traffic goes where we say."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from conductor.api.names import GROUP
from conductor.api.spec import Component, ComponentService
from conductor.domain.effects import ServicePatch, SwitchServices
from conductor.domain.manifests import service_ports
from conductor.domain.ports import ramp_ports
from conductor.domain.revision import (
    Revision,
    narrow_selector,
    steady_selector,
    template_labels,
    wide_selector,
)
from conductor.domain.snapshot import ServiceState, Snapshot

#: Answers in a row, each over a connection of its own, that make a data path proven.
PROOF_ANSWERS = 10
#: A data path that is not proven by then is broken; users are on it.
PROOF_PATIENCE = timedelta(seconds=60)
#: Answers to our own requests wake nobody; users are moving, so they are looked at often.
PROOF_POLL = timedelta(seconds=0.2)
#: kube-proxy writes its rules at most once a second (`--iptables-min-sync-period`), and the write takes a moment.
PROXY_SETTLE = timedelta(seconds=1.5)
_KEPT_OF_PORT = ("nodePort", "appProtocol")


def services_of(revision: Revision) -> Iterator[tuple[Component, ComponentService]]:
    """Every Service that the revision's components declare."""
    for component in revision.spec.components:
        for service in component.services:
            yield component, service


def pointing_at(s: Snapshot, revision: Revision) -> bool:
    """Whether every Service of the revision selects it, and only it."""
    return all(
        (state := s.services.get(service.name)) is not None
        and _leads(state, _towards(s, revision, component, service, state))
        for component, service in services_of(revision)
    )


def reached(s: Snapshot, revision: Revision) -> bool:
    """Whether every Service of the revision leads to ready pods of it, be it among others."""
    return all(
        (state := s.services.get(service.name)) is not None
        and _takes_in(s, state, revision, component)
        and bool(s.ready_pods(revision.hash, component.name))
        for component, service in services_of(revision)
    )


def may_reach(s: Snapshot, revision: Revision) -> bool:
    """Whether a Service leads users to the revision, be it among others."""
    return any(
        (state := s.services.get(service.name)) is not None and _takes_in(s, state, revision, component)
        for component, service in services_of(revision)
    )


def _takes_in(s: Snapshot, state: ServiceState, revision: Revision, component: Component) -> bool:
    if revision.adopted is not None:
        return state.selector.items() <= steady_selector(s.name, component, revision, state.name).items()
    labels = {**narrow_selector(s.name, component.name, revision.hash), **template_labels(component)}
    return bool(state.selector) and state.selector.items() <= labels.items()


def missing_services(s: Snapshot, revision: Revision) -> list[tuple[Component, ComponentService]]:
    """Declared Services that do not exist."""
    return [
        (component, service) for component, service in services_of(revision) if service.name not in s.services
    ]


def switch_to(s: Snapshot, revision: Revision) -> SwitchServices:
    """Point all Services at one revision."""
    patches = []
    for component, service in services_of(revision):
        state = s.services[service.name]
        patches.append(
            ServicePatch(
                service=service.name,
                resource_version=state.resource_version,
                selector=_towards(s, revision, component, service, state),
                former_selector=dict(state.selector),
                ports=_ports_towards(state, service_ports(service)),
                former_ports=tuple(dict(port) for port in state.ports),
            )
        )
    return SwitchServices(patches=tuple(patches), epoch=s.epoch)


def widen(s: Snapshot, from_: Revision, to: Revision, only: Collection[str]) -> SwitchServices:
    """Let these Services select every pod that is told to serve, of either revision, on ports right for both.

    A Service that only the new revision declares has no users yet; it comes with the switch.
    """
    patches = []
    for component, service in services_of(to):
        state = s.services.get(service.name)
        if state is None or service.name not in only:
            continue
        ports = ramp_ports(from_, to, service.name)
        patches.append(
            ServicePatch(
                service=service.name,
                resource_version=state.resource_version,
                selector=_with_labels_of_others(
                    state, wide_selector(s.name, component.name), _of_both(from_, component)
                ),
                former_selector=dict(state.selector),
                ports=ports if _targets(ports) != _targets(state.ports) else (),
                former_ports=tuple(dict(port) for port in state.ports),
            )
        )
    return SwitchServices(patches=tuple(patches), epoch=s.epoch)


def _targets(ports: Sequence[Mapping[str, Any]]) -> dict[int, int | str]:
    return {port["port"]: port.get("targetPort", port["port"]) for port in ports}


def is_wide(s: Snapshot, from_: Revision, to: Revision, only: Collection[str]) -> bool:
    """Whether each of these Services that is there selects across the two revisions."""
    return all(
        _leads(
            state := s.services[service.name],
            _with_labels_of_others(state, wide_selector(s.name, component.name), _of_both(from_, component)),
        )
        for component, service in services_of(to)
        if service.name in s.services and service.name in only
    )


def _leads(state: ServiceState, selector: Mapping[str, str]) -> bool:
    return dict(state.selector) == selector


def _towards(
    s: Snapshot, revision: Revision, component: Component, service: ComponentService, state: ServiceState
) -> dict[str, str]:
    """The selector that leads this Service to exactly that revision."""
    wanted = steady_selector(s.name, component, revision, service.name)
    if revision.adopted is not None:
        return wanted
    return _with_labels_of_others(state, wanted, template_labels(component))


def _with_labels_of_others(
    state: ServiceState, wanted: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, str]:
    """Keys that a Service's owner put into the selector stay where all pods meant carry them: they lead nowhere else.

    So a manifest that holds them may be applied again at any time, and an ordinary apply finds nothing to change.
    """
    theirs = {
        key: value
        for key, value in state.selector.items()
        if not key.startswith(f"{GROUP}/") and labels.get(key) == value
    }
    return {**theirs, **wanted}


def _of_both(from_: Revision, component: Component) -> dict[str, str]:
    """Labels that a component's pods carry in both revisions."""
    former = next((c for c in from_.spec.components if c.name == component.name), None)
    shared = template_labels(former) if former is not None else {}
    return {key: value for key, value in template_labels(component).items() if shared.get(key) == value}


def _ports_towards(state: ServiceState, wanted: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Ports as wanted, with what else their owner gave them; a single port that has no name keeps none.

    A Service and its EndpointSlices reach a node's proxy one after the other: while they differ in a port's name,
    it has no endpoint.
    """
    given = {port["port"]: {key: port[key] for key in _KEPT_OF_PORT if key in port} for port in state.ports}
    ports = tuple({**given.get(port["port"], {}), **port} for port in wanted)
    if len(ports) == len(state.ports) == 1 and "name" not in state.ports[0]:
        return ({key: value for key, value in ports[0].items() if key != "name"},)
    return ports


def endpoints_gap(s: Snapshot, revision: Revision) -> str | None:
    """Why the live EndpointSlices do not yet hold exactly the revision's ready pods; None when they do."""
    for component, service in services_of(revision):
        if (gap := listed_gap(s, service.name, revision, component)) is not None:
            return gap
    return None


def listed_gap(s: Snapshot, service: str, revision: Revision, component: Component) -> str | None:
    """The same of one Service, whatever it is for."""
    ready = {pod.name for pod in s.ready_pods(revision.hash, component.name)}
    listed = {endpoint.pod for endpoint in s.endpoints.get(service, ()) if endpoint.ready}
    if not listed:
        return f"Service {service} has no ready endpoint"
    if foreign := listed - ready:
        return f"Service {service} still lists {len(foreign)} pod(s) of another revision"
    if absent := ready - listed:
        return f"Service {service} does not list {len(absent)} ready pod(s) yet"
    return None


def data_path_gap(s: Snapshot, revision: Revision, since: datetime) -> str | None:
    """Why our own requests do not yet prove that the revision answers; None when they do.

    A Service without a check in `spec.verification.http` is proven by its EndpointSlices alone.
    """
    checked = {check.service for check in revision.spec.verification.http}
    for _, service in services_of(revision):
        if service.name not in checked:
            continue
        probe = s.probes.get(service.name)
        if probe is None or probe.at < since or probe.since < since:
            return f"no answer through Service {service.name} since the switch"
        if probe.matched_in_a_row < PROOF_ANSWERS:
            tail = f" (last failure: {probe.last_failure})" if probe.last_failure else ""
            return f"{probe.matched_in_a_row} of {PROOF_ANSWERS} answers in a row through Service {service.name}{tail}"
    return None


def proxies_settled(s: Snapshot, since: datetime | None) -> bool:
    """Whether node proxies had the time that they take on a healthy node."""
    return since is not None and s.now - since >= PROXY_SETTLE
