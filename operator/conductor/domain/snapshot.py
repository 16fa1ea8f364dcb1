"""Everything one decision may know: the release as read, the cluster as observed, the samples as measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from conductor.api.parse import Finding
from conductor.api.spec import Colour, Component, ReleaseSpec
from conductor.api.status import ReleaseStatus
from conductor.domain.companion import Companion, ForeignBudget
from conductor.domain.found import Found
from conductor.domain.revision import Revision
from conductor.domain.room import Room


@dataclass(frozen=True)
class Pod:
    """One pod of a revision."""

    name: str
    uid: str
    component: str
    colour: Colour
    revision: str
    ready: bool
    terminating: bool
    serving: bool
    created_at: datetime
    ip: str = ""
    restarts: int = 0
    waiting_reason: str = ""
    waiting_message: str = ""
    image: str = ""
    unschedulable: str = ""
    running: bool = True
    resource_version: str = ""
    epoch: int = -1
    node: str = ""
    #: The container that waits, else the one that ended most often; and what ended it last.
    container: str = ""
    died_of: str = ""
    #: Until when that container ran last.
    ended_at: datetime | None = None
    #: Since when that container cannot be started, asked of Events where a decision hangs on it.
    failing_since: datetime | None = None
    #: When it was given a node.
    placed_at: datetime | None = None
    #: Of one on its way out: when its node has ended it at the latest, if there is a node that still does.
    ends_by: datetime | None = None


@dataclass(frozen=True)
class FailedPod:
    """A pod that its node ended and does not start again, until somebody clears it away."""

    name: str
    component: str
    revision: str
    reason: str
    message: str
    node: str
    created_at: datetime


@dataclass(frozen=True)
class Workload:
    """One Deployment of a revision."""

    name: str
    component: str
    colour: Colour
    revision: str
    replicas: int
    ready: int
    observed: bool
    resource_version: str = ""
    epoch: int = -1
    #: A user made it, and it was taken over; `paused` holds its rollouts still meanwhile.
    adopted: bool = False
    paused: bool = False
    #: Which template of it runs, as its controller counts them; a scaling is none.
    rollout: str = ""
    #: Why the API server takes no pods of it, and since when.
    refused: str = ""
    refused_at: datetime | None = None


@dataclass(frozen=True)
class ServiceState:
    """A Service as it stands; `release` is the owner its label names, empty for a foreign one."""

    name: str
    release: str
    selector: Mapping[str, str]
    ports: tuple[Mapping[str, Any], ...]
    resource_version: str
    epoch: int
    cluster_ip: str = ""
    role: str = ""
    managers: tuple[str, ...] = ()
    #: We made it, and did not take it over from its owner.
    created: bool = False


@dataclass(frozen=True)
class Endpoint:
    """One address behind a Service; `pod` is the pod's name."""

    pod: str
    ready: bool


@dataclass(frozen=True)
class RouteRule:
    """One rule of an HTTPRoute: where it leads, as written."""

    backends: tuple[Mapping[str, Any], ...]
    #: A client is held on the backend that it met first.
    sticky: bool = False
    #: All of it, as it stands.
    written: Mapping[str, Any] = field(default_factory=dict)
    #: It is not its owner's: we put it there for requests that ask for the candidate.
    preview: bool = False


@dataclass(frozen=True)
class RouteParent:
    """What the controller of one Gateway says of an HTTPRoute. `generation` is the one that it says it of."""

    gateway: str
    generation: int
    accepted: bool
    resolved: bool
    message: str = ""
    #: What it says of rules that it dropped, where it took the others in.
    dropped: str = ""


@dataclass(frozen=True)
class RouteState:
    """An HTTPRoute that a release names, as it stands. `kept`: what its owner wrote, while it is otherwise."""

    name: str
    resource_version: str
    generation: int
    epoch: int
    rules: tuple[RouteRule, ...]
    #: Those that it is to be taken in by, and what their controllers say.
    gateways: tuple[str, ...] = ()
    #: The same with their namespaces, `namespace/name`.
    parent_keys: tuple[str, ...] = ()
    hostnames: tuple[str, ...] = ()
    parents: tuple[RouteParent, ...] = ()
    managers: tuple[str, ...] = ()
    kept: str = ""
    #: By what rules for previews are known, while there are some.
    preview: str = ""
    #: It has annotations at all: without any there is nothing that one could be added to.
    annotated: bool = False


class RouteGap(StrEnum):
    """Why an HTTPRoute that a release names cannot be shown."""

    MISSING = "missing"
    NOT_SERVED = "not-served"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True)
class TrafficConfigMap:
    """The ConfigMap in which workers and scripts read the colour that serves."""

    name: str
    colour: str | None
    resource_version: str = ""
    epoch: int = -1


@dataclass(frozen=True)
class JobState:
    """One migration Job and, once it ended, its answer. `started`: its container ran, if only for a moment.

    `leaving_at`: when its pod, told to end, should be gone at the latest. One on a node that does not answer stays.
    """

    name: str
    succeeded: bool
    failed: bool
    answer: Mapping[str, Any] | None = None
    message: str = ""
    exit_code: int | None = None
    created_at: datetime | None = None
    started: bool = True
    waiting_reason: str = ""
    leaving_at: datetime | None = None
    digest: str = ""
    #: It has not ended, and there is no pod of it.
    podless: bool = False
    #: Of its pod, while it runs.
    address: str = ""
    #: How many of its pods are to end well, and on which nodes some did.
    completions: int = 1
    nodes: frozenset[str] = frozenset()

    @property
    def ended(self) -> bool:
        return self.succeeded or self.failed


@dataclass(frozen=True)
class HealthSample:
    """What Prometheus said about one revision; numbers are None where it had none."""

    revision: str
    at: datetime
    requests: float | None = None
    errors: float | None = None
    p95_ms: float | None = None
    error: str = ""


@dataclass(frozen=True)
class SilenceSample:
    """Requests that each losing pod answered in the last `window_seconds`; None where Prometheus had no series."""

    revision: str
    at: datetime
    requests_by_pod: Mapping[str, float | None] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class ProbeSample:
    """What our own requests through the data path saw since `since`."""

    target: str
    at: datetime
    since: datetime
    sent: int = 0
    failed: int = 0
    matched_in_a_row: int = 0
    last_failure: str = ""


@dataclass(frozen=True)
class ProgressSample:
    """How far a running migrate Job says its backfill has come; nothing is decided on it."""

    job: str
    at: datetime
    rows_done: int
    rows_total: int
    rows_per_second: int | None = None
    seconds_left: int | None = None


@dataclass(frozen=True)
class NodeState:
    """Whether one node is known to send new connections where the EndpointSlices say."""

    name: str
    follows: bool
    #: What its data path did instead.
    seen: str = ""
    #: None while the node is ready.
    unready_since: datetime | None = None


@dataclass(frozen=True)
class NodeSample:
    """How far the nodes follow since `question` was first asked.

    Not usable: no node ever answered us in this way, so that one which does not answer now says nothing.
    """

    question: str
    at: datetime
    usable: bool
    nodes: tuple[NodeState, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """Frozen input of every decision. `now` is the clock of what we wrote, `server_now` that of the API server.

    They are the same but where the API server's clock jumped.
    """

    now: datetime
    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    annotations: Mapping[str, str]
    deleting: bool
    finalizers: tuple[str, ...]
    spec: ReleaseSpec | None
    findings: tuple[Finding, ...]
    digest: str
    status: ReleaseStatus
    epoch: int
    new_upgrades: bool = True
    revisions: Mapping[str, Revision] = field(default_factory=dict)
    #: Names of ControllerRevisions that are there and that this operator cannot read.
    unreadable_records: frozenset[str] = frozenset()
    workloads: tuple[Workload, ...] = ()
    pods: tuple[Pod, ...] = ()
    failed_pods: tuple[FailedPod, ...] = ()
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    routes: Mapping[str, RouteState] = field(default_factory=dict)
    #: Routes that are named and cannot be shown, by name.
    route_gaps: Mapping[str, RouteGap] = field(default_factory=dict)
    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    jobs: Mapping[str, JobState] = field(default_factory=dict)
    config_maps: frozenset[str] = frozenset()
    missing_config_maps: frozenset[str] = frozenset()
    traffic_config_map: TrafficConfigMap | None = None
    rejections: tuple[str, ...] = ()
    other_services: tuple[ServiceState, ...] = ()
    other_budgets: tuple[ForeignBudget, ...] = ()
    #: Autoscalers and disruption budgets of ours; None where what stands is not known.
    companions: tuple[Companion, ...] | None = None
    #: Read before an upgrade makes anything, and then only.
    room: Room | None = None
    #: Read while something is to be adopted and nothing of the release serves yet.
    found: Found | None = None
    health: HealthSample | None = None
    silence: SilenceSample | None = None
    probes: Mapping[str, ProbeSample] = field(default_factory=dict)
    nodes: NodeSample | None = None
    progress: ProgressSample | None = None
    server_now: datetime | None = None

    def age(self, written_at: datetime) -> timedelta:
        """How old something is that the API server wrote: never older than by either clock."""
        return min(self.now, self.server_now or self.now) - written_at

    def revision(self, hash_: str) -> Revision | None:
        """The recorded revision of that hash."""
        return self.revisions.get(hash_)

    def workload(self, component: str, revision: str) -> Workload | None:
        """The Deployment of one component in one revision (the larger, where both colours still have one)."""
        found = [w for w in self.workloads if w.component == component and w.revision == revision]
        return max(found, key=lambda w: w.replicas, default=None)

    def pods_of(self, revision: str, component: str | None = None) -> tuple[Pod, ...]:
        """Pods of a revision, terminating ones among them."""
        return tuple(
            pod
            for pod in self.pods
            if pod.revision == revision and (component is None or pod.component == component)
        )

    def ready_pods(self, revision: str, component: str) -> tuple[Pod, ...]:
        """Pods that can answer and are not on their way out."""
        return tuple(pod for pod in self.pods_of(revision, component) if pod.ready and not pod.terminating)

    @property
    def published_colour(self) -> str | None:
        """The colour that the traffic ConfigMap names."""
        return self.traffic_config_map.colour if self.traffic_config_map else None

    @property
    def active(self) -> Revision | None:
        """The revision that serves."""
        return self.revision(self.status.active_revision)


def policy(s: Snapshot, revision: Revision) -> ReleaseSpec:
    """The spec that says how this revision is treated: the live one while it asks for it, else the recorded one.

    What runs is fixed by the revision; limits, ramp, soak and approvals may be changed meanwhile.
    """
    return s.spec if s.spec is not None and s.digest == revision.hash else revision.spec


def served_components(revision: Revision) -> tuple[Component, ...]:
    """Components that users reach through Services."""
    return tuple(component for component in revision.spec.components if component.services)


def worker_components(revision: Revision) -> tuple[Component, ...]:
    """Components without a Service."""
    return tuple(component for component in revision.spec.components if not component.services)
