"""Snapshots: from a fresh read of everything, or from what the watches last showed.

`gather` asks the API server and may be acted upon. `glance` asks it nothing: what it shows is a moment old at
best, and may only say that there is nothing to do (`domain.trust`).
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast

from conductor.adapters.kube import ApiError, Kube, Object
from conductor.api import names
from conductor.api.parse import parse_status
from conductor.api.spec import Colour, Consistency, ReleaseSpec
from conductor.api.status import Phase, ReleaseStatus
from conductor.domain.companion import Companion, ForeignBudget
from conductor.domain.found import Found
from conductor.domain.phases.jobs import podless
from conductor.domain.revision import Revision, referenced_config_maps, render_deployment
from conductor.domain.room import Room
from conductor.domain.snapshot import (
    FailedPod,
    HealthSample,
    JobState,
    NodeSample,
    Pod,
    ProbeSample,
    ProgressSample,
    ServiceState,
    SilenceSample,
    Snapshot,
    TrafficConfigMap,
    Workload,
)
from conductor.domain.traffic.choice import named_routes
from conductor.observe import adopted, companions, read
from conductor.observe.cache import Cache, TrafficNote
from conductor.observe.failures import since_when, why_no_pod
from conductor.observe.held import KINDS, Named, Unreadable, Values, value
from conductor.observe.parsed import Parsed, ParsedSpec, Record, Revisions
from conductor.observe.read import JobPod, Slice
from conductor.observe.room import RoomReader
from conductor.observe.routes import Routes, read_routes, wanted

_PREFLIGHT = frozenset({Phase.PREFLIGHT, Phase.BOOTSTRAPPING})
_V = TypeVar("_V")


@dataclass(frozen=True)
class Samples:
    """The newest background samples of one release."""

    health: HealthSample | None = None
    silence: SilenceSample | None = None
    probes: Mapping[str, ProbeSample] = field(default_factory=dict)
    nodes: NodeSample | None = None
    progress: ProgressSample | None = None


@dataclass(frozen=True)
class _Answers:
    """What only the API server can say, asked before anything of a candidate is made."""

    missing_config_maps: frozenset[str] = frozenset()
    rejections: tuple[str, ...] = ()
    other_services: tuple[ServiceState, ...] = ()
    other_budgets: tuple[ForeignBudget, ...] = ()
    found: Found | None = None
    room: Room | None = None


def list_objects(kube: Kube, executor: Executor, namespace: str, name: str) -> Iterator[list[Object]]:
    """Begin to list the objects of a release, those of each of `KINDS`."""
    selector = f"{names.LABEL_RELEASE}={name}"
    return executor.map(lambda kind: kube.list(kind, namespace, selector), KINDS)


def gather(
    kube: Kube,
    executor: Executor,
    release: Object,
    listed: Iterable[list[Object]],
    *,
    samples: Samples,
    epoch: int,
    now: datetime,
    server_now: datetime | None = None,
    new_upgrades: bool,
    parsed: Parsed,
    rooms: RoomReader | None = None,
) -> Snapshot:
    """Read everything about one release, beside `listed`. Raises ApiError where the API server does not answer.

    The release and the lists may be of either order: both are to be begun after whatever we wrote last.
    """
    namespace, name = release["metadata"]["namespace"], release["metadata"]["name"]
    spec, status = parsed.spec(release), parse_status(release.get("status"))
    # Users on their way back wait for all of this: whatever can be asked side by side is.
    early = executor.submit(_traffic_config_map, kube, namespace, spec.spec, None) if spec.spec else None
    preflight = status.phase in _PREFLIGHT and status.upgrade is not None
    all_services = executor.submit(kube.list, "Service", namespace) if preflight else None
    budgets = executor.submit(companions.other_budgets, kube, namespace, name) if preflight else None
    values = {
        kind: {
            item["metadata"]["name"]: found
            for item in items
            if (found := value(kind, item, parsed)) is not None
        }
        for kind, items in zip(KINDS, listed, strict=True)
    }
    revisions = _revisions(parsed, values)
    candidate = revisions.get(status.upgrade.to_revision) if status.upgrade else None
    services = _of(values, "Service", ServiceState)
    present = frozenset(_of(values, "ConfigMap", Named))
    answers = _Answers()
    if all_services is not None and budgets is not None and candidate is not None:
        counted = None
        if rooms is not None and status.phase is Phase.PREFLIGHT:
            counted = executor.submit(rooms.read, namespace, candidate.spec.components)
        missing = executor.submit(_missing, kube, namespace, candidate, present)
        rejections = _rejections(kube, namespace, name, candidate)
        listed_services = (read.service(item) for item in all_services.result())
        answers = _Answers(
            missing_config_maps=missing.result(),
            rejections=rejections,
            other_services=tuple(item for item in listed_services if item.release != name),
            other_budgets=budgets.result(),
            # Of a template that is refused nobody asks what room it needs.
            room=counted.result() if counted is not None and not rejections else None,
        )
    asked = early or executor.submit(
        _traffic_config_map, kube, namespace, None, revisions.get(status.active_revision)
    )
    named = wanted(spec.spec, status, revisions)
    routed = executor.submit(read_routes, kube, namespace, named, status.phase) if named else None
    sized = (
        executor.submit(companions.read_companions, kube, namespace, name)
        if companions.wanted(spec, status, revisions)
        else None
    )
    unknown = sorted(_named(spec.spec, revisions.values()) - set(services))
    for service, obj in zip(
        unknown, executor.map(partial(kube.get, "Service", namespace), unknown), strict=True
    ):
        if obj is not None:
            # Named, and without our label: somebody else's.
            services[service] = read.service(obj)
    traffic = asked.result()
    routes = routed.result() if routed is not None else Routes()
    beside: tuple[Companion, ...] | None = sized.result() if sized is not None else ()

    jobs = _jobs(values)
    for stuck in [job for job in jobs.values() if podless(job, now)]:
        jobs[stuck.name] = replace(stuck, message=why_no_pod(kube, namespace, stuck.name))

    if rooms is not None and candidate is not None and _to_be_pulled(name, spec, status, candidate, jobs):
        answers = replace(answers, room=rooms.read(namespace, candidate.spec.components))
    failing = since_when(kube, namespace, _of(values, "Pod", Pod).values(), now) if status.upgrade else {}
    workloads = _of(values, "Deployment", Workload).values()
    foreign = [
        pod
        for revision in adopted.in_use(status, revisions)
        for pod in adopted.adopted_pods(kube, namespace, name, revision, workloads)
    ]
    if adopted.to_be_adopted(spec.spec, status) and spec.spec is not None:
        answers = replace(answers, found=adopted.found(kube, namespace, spec.spec, services))
    return _snapshot(
        release,
        spec,
        status,
        revisions,
        {**values, "Pod": {**values["Pod"], **failing, **{pod.name: pod for pod in foreign}}},
        services=services,
        jobs=jobs,
        traffic=traffic,
        routes=routes,
        beside=beside,
        answers=answers,
        samples=samples,
        epoch=epoch,
        now=now,
        server_now=server_now,
        new_upgrades=new_upgrades,
    )


def glance(
    cache: Cache,
    release: Object,
    *,
    samples: Samples,
    epoch: int,
    now: datetime,
    server_now: datetime | None = None,
    new_upgrades: bool,
    parsed: Parsed,
) -> Snapshot | None:
    """What the watches show of one release; None where they do not show what its phase reads."""
    metadata = release["metadata"]
    spec, status = parsed.spec(release), parse_status(release.get("status"))
    note = cache.traffic((metadata["namespace"], metadata["name"]))
    if status.phase in _PREFLIGHT or "deletionTimestamp" in metadata or note is None:
        return None
    values = cache.values((metadata["namespace"], metadata["name"]))
    revisions = _revisions(parsed, values)
    candidate = revisions.get(status.upgrade.to_revision) if status.upgrade else None
    if candidate and _to_be_pulled(metadata["name"], spec, status, candidate, _of(values, "Job", JobState)):
        # No watch shows the nodes.
        return None
    if adopted.to_be_adopted(spec.spec, status) or adopted.in_use(status, revisions):
        # No watch shows what others made.
        return None
    if status.traffic.routes or note.routes.names != wanted(spec.spec, status, revisions):
        return None
    if note.name != traffic_config_map_name(spec.spec, revisions.get(status.active_revision)):
        return None
    return _snapshot(
        release,
        spec,
        status,
        revisions,
        values,
        services=_of(values, "Service", ServiceState),
        jobs=_jobs(values),
        traffic=note.found,
        routes=note.routes,
        beside=note.companions,
        answers=_Answers(),
        samples=samples,
        epoch=epoch,
        now=now,
        server_now=server_now,
        new_upgrades=new_upgrades,
    )


def note_of(s: Snapshot) -> TrafficNote:
    """What a fresh snapshot tells about the traffic ConfigMap, to be remembered for later glances."""
    named = wanted(s.spec, s.status, s.revisions)
    routes = Routes(named, s.routes, s.route_gaps)
    return TrafficNote(traffic_config_map_name(s.spec, s.active), s.traffic_config_map, routes, s.companions)


def traffic_config_map_name(spec: ReleaseSpec | None, active: Revision | None) -> str | None:
    """The name of the ConfigMap in which the colour is published; None where there is to be none."""
    source = spec if spec is not None else (active.spec if active is not None else None)
    return source.traffic.config_map if source is not None else None


def _traffic_config_map(
    kube: Kube, namespace: str, spec: ReleaseSpec | None, active: Revision | None
) -> TrafficConfigMap | None:
    return read_traffic_config_map(kube, namespace, traffic_config_map_name(spec, active))


def read_traffic_config_map(kube: Kube, namespace: str, name: str | None) -> TrafficConfigMap | None:
    """The traffic ConfigMap as it is now."""
    found = kube.get("ConfigMap", namespace, name) if name is not None else None
    return read.traffic_config_map(found) if found is not None else None


def _snapshot(
    release: Mapping[str, Any],
    spec: ParsedSpec,
    status: ReleaseStatus,
    revisions: Revisions,
    values: Values,
    *,
    services: Mapping[str, ServiceState],
    jobs: Mapping[str, JobState],
    traffic: TrafficConfigMap | None,
    routes: Routes,
    beside: tuple[Companion, ...] | None,
    answers: _Answers,
    samples: Samples,
    epoch: int,
    now: datetime,
    server_now: datetime | None = None,
    new_upgrades: bool,
) -> Snapshot:
    metadata = release["metadata"]
    return Snapshot(
        now=now,
        server_now=server_now,
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=spec.spec,
        findings=spec.findings,
        digest=spec.digest,
        status=status,
        epoch=epoch,
        new_upgrades=new_upgrades,
        revisions=revisions,
        unreadable_records=frozenset(_of(values, "ControllerRevision", Unreadable)),
        workloads=tuple(_of(values, "Deployment", Workload).values()),
        pods=tuple(_of(values, "Pod", Pod).values()),
        failed_pods=tuple(_of(values, "Pod", FailedPod).values()),
        services=services,
        routes=routes.states,
        route_gaps=routes.gaps,
        endpoints=read.joined(_of(values, "EndpointSlice", Slice).values()),
        jobs=jobs,
        config_maps=frozenset(_of(values, "ConfigMap", Named)),
        missing_config_maps=answers.missing_config_maps,
        traffic_config_map=traffic,
        rejections=answers.rejections,
        other_services=answers.other_services,
        other_budgets=answers.other_budgets,
        companions=beside,
        room=answers.room,
        found=answers.found,
        health=samples.health,
        silence=samples.silence,
        probes=samples.probes,
        nodes=samples.nodes,
        progress=samples.progress,
    )


def _of(values: Values, kind: str, type_: type[_V]) -> dict[str, _V]:
    """Values of one kind in the order of their names, as the API server lists them."""
    found = values.get(kind, {})
    return {name: cast("_V", found[name]) for name in sorted(found) if isinstance(found[name], type_)}


def _jobs(values: Values) -> dict[str, JobState]:
    job_pods = _of(values, "Pod", JobPod).values()
    return {name: read.answered(state, job_pods) for name, state in _of(values, "Job", JobState).items()}


def _to_be_pulled(
    release: str, spec: ParsedSpec, status: ReleaseStatus, candidate: Revision, jobs: Mapping[str, JobState]
) -> bool:
    """Whether a Job is still to be made that brings images onto the nodes, which has to know them."""
    upgrade = status.upgrade
    live = spec.spec if spec.digest == candidate.hash else None
    asked = (live or candidate.spec).surge.pre_pull
    if asked is None or upgrade is None or status.phase is not Phase.BRINGING_UP:
        return False
    if upgrade.pre_pull_told or upgrade.hotfix:
        return False
    wanted = {
        names.pre_pull_name(release, upgrade.id, component.name) for component in candidate.spec.components
    }
    return not wanted <= jobs.keys()


def _revisions(parsed: Parsed, values: Values) -> Revisions:
    return Revisions(parsed, _of(values, "ControllerRevision", Record).values())


def _named(spec: ReleaseSpec | None, revisions: Iterable[Revision]) -> set[str]:
    """Every Service that is named, or has a name that we would give it."""
    named: set[str] = set()
    for item in [spec, *(revision.spec for revision in revisions)]:
        for component in item.components if item else ():
            for service in component.services:
                named |= {service.name, names.preview_name(service.name)}
                if item is not None and _led_by_colour(item):
                    named |= {names.colour_service_name(service.name, colour) for colour in Colour}
    return named


def _led_by_colour(spec: ReleaseSpec) -> bool:
    return bool(named_routes(spec)) or spec.traffic.consistency is Consistency.STRICT


def _missing(kube: Kube, namespace: str, candidate: Revision, present: frozenset[str]) -> frozenset[str]:
    return frozenset(
        source
        for source in referenced_config_maps(candidate.spec)
        if names.pinned_name(source, candidate.hash) not in present
        and kube.get("ConfigMap", namespace, source) is None
    )


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
    return (*said, *companions.rejected(kube, namespace, release, candidate))
