"""Which questions to Prometheus and which requests through the data path a release needs answered now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from conductor.api.names import PROGRESS_PORT, job_name, preview_name
from conductor.api.spec import HttpCheck, ReleaseSpec
from conductor.api.status import Phase, UpgradeStatus
from conductor.domain.nodes import question
from conductor.domain.phases.closing import SILENCE_WINDOW
from conductor.domain.revision import Revision
from conductor.domain.routing import services_of
from conductor.domain.snapshot import Snapshot, policy, served_components
from conductor.domain.traffic.data_plane import paths
from conductor.domain.verdicts import required_requests

#: Paths that probes and scrapes use; they say nothing about users.
_OWN_TRAFFIC = "/?(metrics|healthz|readyz|livez|-/.*)"
_JUDGED = frozenset({Phase.VERIFYING, Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING})
#: Phases before, on and after an expand step in which the candidate answers nobody, and the active colour is judged.
_EXPANDING = frozenset({Phase.PREFLIGHT, Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING})
#: A margin over the requests that a verdict needs: the last scrape is always a little old.
_MARGIN = 1.3
_LONGEST_STEM = 58
#: The label that says which part of a question a series answers.
PART = "mc_part"


@dataclass(frozen=True)
class HealthQuestion:
    """PromQL for one revision's requests, errors and p95 in milliseconds."""

    url: str
    revision: str
    requests: str
    errors: str
    p95_ms: str
    #: Whether the texts are ours, so that they can be asked in one question.
    preset: bool = False


@dataclass(frozen=True)
class SilenceQuestion:
    """PromQL for what each losing pod still answers."""

    url: str
    revision: str
    present: str
    requests: str


@dataclass(frozen=True)
class Request:
    """One request of the verification; `port` is the Service's own."""

    port: int
    method: str
    path: str
    body: str | None
    expect_status: int
    version: str
    version_header: str | None
    version_json: str | None
    #: The host that is asked for, where it is not the address, and what else is sent.
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ProbeOrder:
    """Requests to send through one Service: `budget` as fast as `concurrency` allows, then `rate` a second.

    Or through the Gateway `namespace/name`, if the administrator said how it is reached: address and ports are empty.
    """

    target: str
    address: str
    since: datetime
    requests: tuple[Request, ...]
    budget: int
    rate: float
    concurrency: int = 4
    gateway: str = ""


@dataclass(frozen=True)
class ProgressQuestion:
    """How far this Job's backfill has come, asked of its pod."""

    job: str
    address: str
    upgrade: str
    attempt: int
    port: int = PROGRESS_PORT


@dataclass(frozen=True)
class Needs:
    """All background work that one release wants done now."""

    health: HealthQuestion | None = None
    silence: SilenceQuestion | None = None
    probes: tuple[ProbeOrder, ...] = field(default=())
    #: Asked of every node: see `domain.nodes`.
    nodes: str = ""
    progress: ProgressQuestion | None = None


def needs(s: Snapshot) -> Needs:
    """What must be measured for the next decision; nothing in steady state."""
    upgrade = s.status.upgrade
    to = s.revision(upgrade.to_revision) if upgrade else None
    if upgrade is None or to is None:
        return Needs(nodes=question(s))
    spec = policy(s, to)
    losing = s.revision(upgrade.from_revision)
    if s.status.phase in _EXPANDING and spec.migrations is not None and losing is not None:
        return Needs(health_question(s, losing, spec), progress=progress_question(s, upgrade))
    if s.status.phase not in _JUDGED:
        return Needs(nodes=question(s))
    silence = silence_question(s, losing, spec) if s.status.phase is Phase.CLOSING and losing else None
    orders = (*_probe_orders(s, to, spec), *(_gateway_orders(s, losing, to) if losing is not None else ()))
    return Needs(health_question(s, to, spec), silence, orders, question(s))


def health_question(s: Snapshot, revision: Revision, spec: ReleaseSpec) -> HealthQuestion:
    """Built from the preset, or from the user's own queries."""
    window = spec.traffic.switch_health.window
    own = spec.metrics.prometheus.queries
    if own is not None:
        return HealthQuestion(
            url=spec.metrics.prometheus.url,
            revision=revision.hash,
            requests=_fill(s, revision, own.requests, window),
            errors=_fill(s, revision, own.errors, window),
            p95_ms=_fill(s, revision, own.p95_latency_ms, window),
        )
    users = _selector(s, revision)
    failed = _selector(s, revision, ',status=~"5.."')
    count, bucket = "http_request_duration_seconds_count", "http_request_duration_seconds_bucket"
    return HealthQuestion(
        url=spec.metrics.prometheus.url,
        revision=revision.hash,
        requests=f"sum({_grown(count, users, window)})",
        errors=f"sum({_grown(count, failed, window)}) or vector(0)",
        p95_ms=f"1000 * histogram_quantile(0.95, sum by (le) ({_grown(bucket, users, window)}))",
        preset=True,
    )


def in_one(parts: Mapping[str, str]) -> str:
    """One question for several, each text one of ours; an answer's series carries its part's name as `PART`."""
    return " or ".join(f'label_replace({text}, "{PART}", "{name}", "", "")' for name, text in parts.items())


def progress_question(s: Snapshot, upgrade: UpgradeStatus) -> ProgressQuestion | None:
    """None where no backfill runs, or its pod has no address yet."""
    if s.status.phase is not Phase.MIGRATING:
        return None
    job = s.jobs.get(job_name(s.name, upgrade.id, "migrate", upgrade.attempt))
    if job is None or not job.address:
        return None
    return ProgressQuestion(job.name, job.address, upgrade.id, upgrade.attempt)


def silence_question(s: Snapshot, losing: Revision, spec: ReleaseSpec) -> SilenceQuestion:
    """Asked over a short window: silence now is what matters."""
    count = "http_request_duration_seconds_count"
    users = _selector(s, losing)
    everything = f'{{namespace="{s.namespace}",pod=~"{_pods(s, losing)}"}}'
    return SilenceQuestion(
        url=spec.metrics.prometheus.url,
        revision=losing.hash,
        present=f"count by (pod) ({count}{everything})",
        requests=f"sum by (pod) ({_grown(count, users, SILENCE_WINDOW)})",
    )


def _grown(metric: str, selector: str, window: timedelta) -> str:
    """How much each counter grew in the window.

    A series that is younger than the window counts whole: increase() would lose what it held when
    it was first scraped, and that is where a bad version's first errors are. A reset counts as 0.
    """
    seconds = int(window.total_seconds())
    series = f"{metric}{selector}"
    return f"(clamp_min({series} - {series} offset {seconds}s, 0) or {series})"


def _selector(s: Snapshot, revision: Revision, more: str = "") -> str:
    return f'{{namespace="{s.namespace}",pod=~"{_pods(s, revision)}",path!~"{_OWN_TRAFFIC}"{more}}}'


def _pods(s: Snapshot, revision: Revision) -> str:
    if revision.adopted is not None:
        served = [revision.adopted.workloads[component.name] for component in served_components(revision)]
        # The API server cuts the name that it appends to.
        stems = (f"{workload.name}-{workload.template_hash}-"[:_LONGEST_STEM] for workload in served)
        return f"({'|'.join(stems)}).+"
    components = "|".join(component.name for component in served_components(revision))
    return f"{s.name}-({components})-(blue|green)-{revision.hash}-.+"


def _fill(s: Snapshot, revision: Revision, text: str, window: timedelta) -> str:
    upgrade = s.status.upgrade
    values = {
        "namespace": s.namespace,
        "release": s.name,
        "component": "|".join(component.name for component in served_components(revision)),
        "revision": revision.hash,
        "colour": _colour(upgrade, revision),
        "window": f"{int(window.total_seconds())}s",
    }
    for key, value in values.items():
        text = text.replace("{{ " + key + " }}", value).replace("{{" + key + "}}", value)
    return text


def _colour(upgrade: UpgradeStatus | None, revision: Revision) -> str:
    if upgrade is None:
        return ""
    colour = upgrade.from_colour if revision.hash == upgrade.from_revision else upgrade.to_colour
    return str(colour) if colour is not None else ""


def _probe_orders(s: Snapshot, to: Revision, spec: ReleaseSpec) -> tuple[ProbeOrder, ...]:
    upgrade = s.status.upgrade
    if upgrade is None:
        return ()
    limits = spec.traffic.switch_health
    verifying = s.status.phase is Phase.VERIFYING
    switched = s.status.phase in (Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING)
    checked = max(1, len({check.service for check in spec.verification.http}))
    share = required_requests(limits) * _MARGIN / checked
    orders = []
    for _, service in services_of(to):
        target = service.name if switched else preview_name(service.name)
        state = s.services.get(target)
        requests = tuple(
            _request(check, to.version, next(port.port for port in service.ports if port.name == check.port))
            for check in spec.verification.http
            if check.service == service.name
        )
        if state is None or not state.cluster_ip or not requests:
            continue
        since = (upgrade.switched_at if switched else None) or upgrade.phase_started_at
        orders.append(
            ProbeOrder(
                target=target,
                address=state.cluster_ip,
                since=since,
                requests=requests,
                budget=int(share) if verifying else 40,
                rate=share / limits.window.total_seconds(),
            )
        )
    return tuple(orders)


def _gateway_orders(s: Snapshot, from_: Revision, to: Revision) -> Iterator[ProbeOrder]:
    """Until the switch, whether the version that serves answers through its Gateways; then whether the new one does."""
    upgrade = s.status.upgrade
    if upgrade is None or s.status.phase not in (Phase.VERIFYING, Phase.SWITCHING):
        return
    switched = upgrade.switched_at if s.status.phase is Phase.SWITCHING else None
    if s.status.phase is Phase.SWITCHING and switched is None:
        return
    version = to.version if switched else from_.version
    for path in paths(s, from_, to):
        if switched and path.target not in upgrade.gateways:
            continue
        yield ProbeOrder(
            target=path.target,
            address="",
            since=switched or upgrade.phase_started_at,
            requests=tuple(
                replace(_request(way.check, version, 0), host=way.host, headers=way.headers)
                for way in path.requests
            ),
            # The version that serves has users to answer: it is asked until it did, and then now and then.
            budget=40 if switched else 1,
            rate=20.0 if switched else 0.2,
            concurrency=4 if switched else 1,
            gateway=path.gateway,
        )


def _request(check: HttpCheck, version: str, port: int) -> Request:
    return Request(
        port=port,
        method=check.method,
        path=check.path,
        body=check.body,
        expect_status=check.expect_status,
        version=version,
        version_header=check.version_header,
        version_json=check.version_json,
    )
