"""The one gatherer: every read that a decision needs, then a frozen Snapshot."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from conductor.adapters.kube import ApiError, Kube
from conductor.api import names
from conductor.api.parse import Finding, parse_spec, parse_status
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Phase
from conductor.api.urls import UrlPatterns
from conductor.domain.revision import Revision, digest, referenced_config_maps, render_deployment
from conductor.domain.snapshot import (
    HealthSample,
    ProbeSample,
    ServiceState,
    SilenceSample,
    Snapshot,
    TrafficConfigMap,
)
from conductor.observe import read

_PREFLIGHT = frozenset({Phase.PREFLIGHT, Phase.BOOTSTRAPPING})


@dataclass(frozen=True)
class Samples:
    """The newest background samples of one release."""

    health: HealthSample | None = None
    silence: SilenceSample | None = None
    probes: Mapping[str, ProbeSample] = field(default_factory=dict)


def gather(
    kube: Kube,
    executor: Executor,
    release: dict[str, Any],
    *,
    samples: Samples,
    epoch: int,
    now: datetime,
    new_upgrades: bool,
    urls: UrlPatterns | None = None,
) -> Snapshot:
    """Read everything about one release. Raises ApiError where the API server does not answer."""
    metadata = release["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    selector = f"{names.LABEL_RELEASE}={name}"
    kinds = ("ControllerRevision", "Deployment", "Pod", "Service", "EndpointSlice", "Job", "ConfigMap")
    listed = dict(
        zip(kinds, executor.map(lambda kind: kube.list(kind, namespace, selector), kinds), strict=True)
    )

    raw = release.get("spec") or {}
    parsed = parse_spec(raw, urls)
    spec: ReleaseSpec | None = parsed if isinstance(parsed, ReleaseSpec) else None
    findings: tuple[Finding, ...] = () if isinstance(parsed, ReleaseSpec) else parsed
    status = parse_status(release.get("status"))
    in_order = sorted(listed["ControllerRevision"], key=lambda item: item["metadata"]["creationTimestamp"])
    revisions = {record.hash: record for item in in_order if (record := read.revision(item)) is not None}
    services = {item["metadata"]["name"]: read.service(item) for item in listed["Service"]}
    services |= _foreign(kube, namespace, services, spec, revisions.values())
    present = frozenset(item["metadata"]["name"] for item in listed["ConfigMap"])
    traffic = _traffic_config_map(kube, namespace, spec, revisions.get(status.active_revision))

    missing: frozenset[str] = frozenset()
    rejections: tuple[str, ...] = ()
    others: tuple[ServiceState, ...] = ()
    candidate = revisions.get(status.upgrade.to_revision) if status.upgrade else None
    if status.phase in _PREFLIGHT and candidate is not None:
        missing = frozenset(
            source
            for source in referenced_config_maps(candidate.spec)
            if names.pinned_name(source, candidate.hash) not in present
            and kube.get("ConfigMap", namespace, source) is None
        )
        rejections = _rejections(kube, namespace, name, candidate)
        found = (read.service(item) for item in kube.list("Service", namespace))
        others = tuple(service for service in found if service.release != name)

    return Snapshot(
        now=now,
        name=name,
        namespace=namespace,
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=spec,
        findings=findings,
        digest=digest(raw) if spec is not None else "",
        status=status,
        epoch=epoch,
        new_upgrades=new_upgrades,
        revisions=revisions,
        workloads=tuple(owned for item in listed["Deployment"] if (owned := read.workload(item)) is not None),
        pods=tuple(running for item in listed["Pod"] if (running := read.pod(item)) is not None),
        services=services,
        endpoints=read.endpoints(listed["EndpointSlice"]),
        jobs={item["metadata"]["name"]: read.job(item, listed["Pod"]) for item in listed["Job"]},
        config_maps=present,
        missing_config_maps=missing,
        traffic_config_map=traffic,
        rejections=rejections,
        other_services=others,
        health=samples.health,
        silence=samples.silence,
        probes=samples.probes,
    )


def _foreign(
    kube: Kube,
    namespace: str,
    known: Mapping[str, ServiceState],
    spec: ReleaseSpec | None,
    revisions: Iterable[Revision],
) -> dict[str, ServiceState]:
    """Services that are named but do not carry our label: somebody else's."""
    named: set[str] = set()
    for item in [spec, *(revision.spec for revision in revisions)]:
        for component in item.components if item else ():
            for service in component.services:
                named |= {service.name, names.preview_name(service.name)}
    found = {}
    for name in sorted(named - set(known)):
        if (obj := kube.get("Service", namespace, name)) is not None:
            found[name] = read.service(obj)
    return found


def _traffic_config_map(
    kube: Kube, namespace: str, spec: ReleaseSpec | None, active: Revision | None
) -> TrafficConfigMap | None:
    source = spec if spec is not None else (active.spec if active is not None else None)
    if source is None or source.traffic.config_map is None:
        return None
    found = kube.get("ConfigMap", namespace, source.traffic.config_map)
    return read.traffic_config_map(found) if found is not None else None


def _rejections(kube: Kube, namespace: str, release: str, candidate: Revision) -> tuple[str, ...]:
    """What the API server says against the templates, asked by dry-run before anything is made."""
    said = []
    from_colour = candidate.spec.traffic.current
    for component in candidate.spec.components:
        manifest = render_deployment(release, namespace, candidate, component, colour=from_colour, replicas=0)
        manifest["metadata"]["name"] = f"{manifest['metadata']['name']}-dry"
        try:
            kube.apply(manifest, dry_run=True)
        except ApiError as error:
            if error.status == 0:
                raise
            said.append(f"spec.components[{component.name}].template: {error.message}; correct the template")
    return tuple(said)
