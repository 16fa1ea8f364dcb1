"""Whether what runs can be adopted, in words that name field, value and mend; and what it is recorded as."""

import hashlib
import json
import re
from collections.abc import Iterator

from conductor.api import names
from conductor.api.model import DNS_LABEL
from conductor.api.spec import (
    AdoptedDeployment,
    Component,
    ComponentService,
    HttpCheck,
    ReleaseSpec,
    ServicePort,
)
from conductor.domain.found import Found, FoundDeployment
from conductor.domain.revision import Adopted, AdoptedWorkload, Revision, template_labels
from conductor.domain.snapshot import ServiceState, Snapshot


def problem(s: Snapshot, found: Found) -> str | None:
    """The first thing that forbids to take over what `spec.adopt` names; None where nothing does."""
    for entry in _named(s):
        if (said := _deployment_problem(s, entry, found.deployments.get(entry.name))) is not None:
            return f"spec.adopt.deployments[{entry.name}].name: {said}"
    by_component = {entry.component: entry for entry in _named(s)}
    for component in s.spec.components if s.spec else ():
        own = by_component.get(component.name)
        there = [service for service in component.services if service.name in s.services]
        if own is not None and component.services and not there:
            return (
                f"spec.adopt.deployments[{own.name}].component: no Service of component {component.name} is there, so "
                "that no user is led to it; leave it out, or name the Service that its users go by"
            )
        for service in there:
            if (said := _service_problem(s, found, component, service, own)) is not None:
                return f"spec.components[{component.name}].services[{service.name}]: {said}"
    return None


def _named(s: Snapshot) -> Iterator[AdoptedDeployment]:
    if s.spec is not None and s.spec.adopt is not None:
        yield from s.spec.adopt.deployments


def _deployment_problem(s: Snapshot, entry: AdoptedDeployment, found: FoundDeployment | None) -> str | None:
    if found is None:
        return (
            f"Deployment {entry.name} does not exist in namespace {s.namespace}; name the one that runs, or take "
            "spec.adopt out to install anew"
        )
    if found.controller:
        return f"Deployment {entry.name} is controlled by {found.controller}, which would undo what is done; adopt that"
    if found.release not in ("", s.name):
        return f"Deployment {entry.name} belongs to release {found.release}; name another"
    if not found.plain_selector or names.LABEL_POD_TEMPLATE_HASH in found.selector:
        return f"Deployment {entry.name} selects its pods by more than plain labels; make one that has only matchLabels"
    if found.replicas == 0 or not any(pod.ready for pod in found.pods):
        return (
            f"Deployment {entry.name} has no ready pod, there is nothing that serves to begin from; mend it first, or "
            "delete it and its Service and take spec.adopt out"
        )
    return None


def _service_problem(
    s: Snapshot,
    found: Found,
    component: Component,
    service: ComponentService,
    entry: AdoptedDeployment | None,
) -> str | None:
    state = s.services[service.name]
    if state.release not in ("", s.name):
        return f"Service {service.name} belongs to release {state.release}; choose another name"
    if entry is None:
        return (
            f"Service {service.name} was not made by this operator, and spec.adopt names no Deployment of component "
            f"{component.name}; add the one behind it"
        )
    return _selection_problem(found, component, state, entry) or _port_problem(service, state)


def _selection_problem(
    found: Found, component: Component, state: ServiceState, entry: AdoptedDeployment
) -> str | None:
    selector = owners_selector(state)
    if not selector or not state.cluster_ip:
        return (
            f"Service {state.name} has no selector or no address of its own (headless); only one that leads to pods by "
            "an address can be switched"
        )
    if state.release == "" and names.LABEL_POD_TEMPLATE_HASH in state.selector:
        return (
            f"Service {state.name} selects by {names.LABEL_POD_TEMPLATE_HASH}, which is what tells adopted pods from "
            "new ones; take that key out of its selector"
        )
    own = {pod.name for pod in found.deployments[entry.name].pods}
    selected = found.selected.get(state.name, frozenset())
    if foreign := sorted(selected - own):
        return (
            f"Service {state.name} selects pod {foreign[0]}, which Deployment {entry.name} did not make; let its "
            "selector fit that Deployment alone"
        )
    if not selected:
        return (
            f"Service {state.name} selects no pod of Deployment {entry.name}; name the Deployment behind it"
        )
    labels = template_labels(component)
    missing = [f"{key}={value}" for key, value in sorted(selector.items()) if labels.get(key) != value]
    if missing:
        return (
            f"Service {state.name} selects by {', '.join(missing)}, which spec.components[{component.name}].template."
            "metadata.labels lacks; add it there, so that the Service's own manifest can be applied again at any time"
        )
    return None


def _port_problem(service: ComponentService, state: ServiceState) -> str | None:
    declared = {port.port for port in service.ports}
    for port in state.ports:
        if port.get("protocol", "TCP") != "TCP":
            return (
                f"port {port['port']} of Service {state.name} is {port['protocol']}; only TCP can be switched"
            )
        target = port.get("targetPort", port["port"])
        if isinstance(target, str) and not re.fullmatch(DNS_LABEL, target):
            return f"targetPort {target} of Service {state.name} does not begin with a letter; name that port anew"
        if port["port"] not in declared:
            return (
                f"Service {state.name} has port {port['port']}, which ports[] does not declare, so that its clients "
                "would lose it; declare it"
            )
    return None


def owners_selector(state: ServiceState) -> dict[str, str]:
    """A Service's selector without what adopting it adds."""
    return {key: value for key, value in state.selector.items() if key != names.LABEL_POD_TEMPLATE_HASH}


def unsettled(s: Snapshot, found: Found) -> FoundDeployment | None:
    """A Deployment whose pods are being replaced; None where all pods of each are of one template."""
    for entry in _named(s):
        deployment = found.deployments[entry.name]
        if len(deployment.template_hashes) != 1 or not (deployment.settled or deployment.release):
            return deployment
    return None


def adopted_revision(s: Snapshot, found: Found) -> Revision:
    """What runs, as a revision: the same for as long as the same runs.

    The spec in it is no wish of anybody; it says what going back to it means, and how its health is looked at.
    """
    assert s.spec is not None
    assert s.spec.adopt is not None
    components: list[Component] = []
    workloads: dict[str, AdoptedWorkload] = {}
    selectors: dict[str, dict[str, str]] = {}
    for entry in _named(s):
        deployment = found.deployments[entry.name]
        component = s.spec.component(entry.component)
        services = tuple(item for item in component.services if item.name in s.services)
        workloads[entry.component] = AdoptedWorkload(
            name=deployment.name,
            uid=deployment.uid,
            selector=dict(deployment.selector),
            template_hash=next(iter(deployment.template_hashes)),
        )
        selectors |= {item.name: owners_selector(s.services[item.name]) for item in services}
        update = {
            "replicas": deployment.replicas,
            "services": tuple(_as_it_is(item, s.services[item.name]) for item in services),
            "template": dict(deployment.template),
        }
        components.append(component.model_copy(update=update))
    adopted = Adopted(workloads=workloads, selectors=selectors)
    identity = {"version": s.spec.adopt.version, **adopted.model_dump()}
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    hash_ = hashlib.sha256(canonical.encode()).hexdigest()[: names.HASH_LENGTH]
    return Revision(hash=hash_, spec=_description(s.spec, tuple(components)), adopted=adopted)


def _as_it_is(service: ComponentService, state: ServiceState) -> ComponentService:
    """The Service with the targets that it has now: going back restores them."""
    named = {port.port: port.name for port in service.ports}
    ports = tuple(
        ServicePort(
            name=named[port["port"]],
            port=port["port"],
            target_port=port.get("targetPort", port["port"]),
        )
        for port in state.ports
    )
    return service.model_copy(update={"ports": ports})


def _description(spec: ReleaseSpec, components: tuple[Component, ...]) -> ReleaseSpec:
    assert spec.adopt is not None
    served = [component for component in components if component.services]
    names_served = {component.name for component in served}
    checks = tuple(check for check in spec.verification.http if check.component in names_served)
    if served and not checks:
        # Nobody asks it: only a candidate is verified, and this one never is.
        service = served[0].services[0]
        checks = (HttpCheck(component=served[0].name, service=service.name, port=service.ports[0].name),)
    verification = spec.verification.model_copy(update={"http": checks})
    return ReleaseSpec(
        version=spec.adopt.version,
        components=components,
        traffic=spec.traffic,
        verification=verification,
        soak=spec.soak,
        deadlines=spec.deadlines,
        metrics=spec.metrics,
    )
