"""Where Services point, and the proof that traffic goes where we say."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from conductor.api.spec import Component, ComponentService
from conductor.domain.effects import ServicePatch, SwitchServices
from conductor.domain.manifests import service_ports
from conductor.domain.ports import ramp_ports
from conductor.domain.revision import Revision, narrow_selector, wide_selector
from conductor.domain.snapshot import Snapshot

#: Answers in a row, each over a connection of its own, that make a data path proven.
PROOF_ANSWERS = 10
#: kube-proxy writes its rules at most once a second (`--iptables-min-sync-period`), and the write takes a moment.
PROXY_SETTLE = timedelta(seconds=1.5)


def services_of(revision: Revision) -> Iterator[tuple[Component, ComponentService]]:
    """Every Service that the revision's components declare."""
    for component in revision.spec.components:
        for service in component.services:
            yield component, service


def pointing_at(s: Snapshot, revision: Revision) -> bool:
    """Whether every Service of the revision selects it, and only it."""
    return all(
        (state := s.services.get(service.name)) is not None
        and dict(state.selector) == narrow_selector(s.name, component.name, revision.hash)
        for component, service in services_of(revision)
    )


def leads_to(s: Snapshot, revision: Revision) -> bool:
    """Whether a Service leads users to the revision, and to no other."""
    return any(
        (state := s.services.get(service.name)) is not None
        and dict(state.selector) == narrow_selector(s.name, component.name, revision.hash)
        for component, service in services_of(revision)
    )


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
                selector=narrow_selector(s.name, component.name, revision.hash),
                former_selector=dict(state.selector),
                ports=service_ports(service),
                former_ports=tuple(dict(port) for port in state.ports),
            )
        )
    return SwitchServices(patches=tuple(patches), epoch=s.epoch)


def widen(s: Snapshot, from_: Revision, to: Revision) -> SwitchServices:
    """Let all Services select every pod that is told to serve, of either revision, on ports right for both.

    A Service that only the new revision declares has no users yet; it comes with the switch.
    """
    patches = []
    for component, service in services_of(to):
        state = s.services.get(service.name)
        if state is None:
            continue
        ports = ramp_ports(from_, to, service.name)
        patches.append(
            ServicePatch(
                service=service.name,
                resource_version=state.resource_version,
                selector=wide_selector(s.name, component.name),
                former_selector=dict(state.selector),
                ports=ports if _targets(ports) != _targets(state.ports) else (),
                former_ports=tuple(dict(port) for port in state.ports),
            )
        )
    return SwitchServices(patches=tuple(patches), epoch=s.epoch)


def _targets(ports: Sequence[Mapping[str, Any]]) -> dict[int, int | str]:
    return {port["port"]: port.get("targetPort", port["port"]) for port in ports}


def is_wide(s: Snapshot, revision: Revision) -> bool:
    """Whether every Service that is there selects across revisions."""
    return all(
        dict(s.services[service.name].selector) == wide_selector(s.name, component.name)
        for component, service in services_of(revision)
        if service.name in s.services
    )


def endpoints_gap(s: Snapshot, revision: Revision) -> str | None:
    """Why the live EndpointSlices do not yet hold exactly the revision's ready pods; None when they do."""
    for component, service in services_of(revision):
        ready = {pod.name for pod in s.ready_pods(revision.hash, component.name)}
        listed = {endpoint.pod for endpoint in s.endpoints.get(service.name, ()) if endpoint.ready}
        if not listed:
            return f"Service {service.name} has no ready endpoint"
        if foreign := listed - ready:
            return f"Service {service.name} still lists {len(foreign)} pod(s) of another revision"
        if absent := ready - listed:
            return f"Service {service.name} does not list {len(absent)} ready pod(s) yet"
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
