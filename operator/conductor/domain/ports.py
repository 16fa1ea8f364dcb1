"""Target ports of a Service that leads to two versions at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conductor.api.spec import Component, ComponentService, ServicePort
from conductor.domain.manifests import service_ports
from conductor.domain.revision import Revision


@dataclass(frozen=True)
class PortClash:
    """A port of a Service for which no one target is right for both versions."""

    component: str
    service: str
    port: str
    target: int | str
    former: int | str


def port_clash(from_: Revision, to: Revision) -> PortClash | None:
    """The first port that no Service can lead to both versions, or None."""
    for component, service, former, port in _common_ports(from_, to):
        known = former.reached_by(former.target) is not None and port.reached_by(port.target) is not None
        if known and _shared_target(former, port) is None:
            return PortClash(component, service, port.port.name, port.target, former.target)
    return None


def ramp_ports(from_: Revision, to: Revision, name: str) -> tuple[dict[str, Any], ...]:
    """Ports of the Service of that name while it leads to both: the former version's, with targets right for both."""
    former_service = next((service for _, service in _services(from_) if service.name == name), None)
    if former_service is None:
        return ()
    targets: dict[int, int | str | None] = {
        former.port.port: _shared_target(former, port)
        for _, service, former, port in _common_ports(from_, to)
        if service == name
    }
    return tuple(
        {**port, "targetPort": targets[port["port"]]} if targets.get(port["port"]) is not None else port
        for port in service_ports(former_service)
    )


@dataclass(frozen=True)
class _Port:
    port: ServicePort
    template: Mapping[str, Any]

    @property
    def target(self) -> int | str:
        return self.port.port if self.port.target_port is None else self.port.target_port

    def reached_by(self, target: int | str) -> int | None:
        """The container's port that this target leads to in this version's pods."""
        return target if isinstance(target, int) else _named_port(self.template, target)


def _shared_target(former: _Port, port: _Port) -> int | str | None:
    """A target that leads either version's pods to the port that it means itself; the standing one is preferred."""
    for target in (former.target, port.target):
        if all(
            (reached := side.reached_by(target)) is not None and reached == side.reached_by(side.target)
            for side in (former, port)
        ):
            return target
    return None


def _common_ports(from_: Revision, to: Revision) -> Iterator[tuple[str, str, _Port, _Port]]:
    former_services = {service.name: (component.template, service) for component, service in _services(from_)}
    for component, service in _services(to):
        if service.name not in former_services:
            continue
        template, former_service = former_services[service.name]
        by_number = {port.port: port for port in former_service.ports}
        for port in service.ports:
            if port.port in by_number:
                former = _Port(by_number[port.port], template)
                yield component.name, service.name, former, _Port(port, component.template)


def _services(revision: Revision) -> Iterator[tuple[Component, ComponentService]]:
    for component in revision.spec.components:
        for service in component.services:
            yield component, service


def _named_port(template: Mapping[str, Any], name: str) -> int | None:
    pod = template.get("spec") or {}
    for container in (*(pod.get("containers") or []), *(pod.get("initContainers") or [])):
        for port in container.get("ports") or []:
            if port.get("name") == name:
                found: int | None = port.get("containerPort")
                return found
    return None
