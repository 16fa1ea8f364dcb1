"""The abstract cluster: one release and its objects, reduced to what decisions can see and what promises speak of.

Everything is an immutable tuple, so that a state is its own key. Revisions are letters in the order in which
people ask for them; what a letter stands for is in `planes`.
"""

from typing import NamedTuple

#: Replicas of a Deployment that does not exist (its pods may still be ending).
GONE = -1
#: What a Service selects beside a revision's letter.
ABSENT, WIDE, ASTRAY = "", "*", "-"
#: The version that a user made, and what its Services select by themselves: all pods with the owner's labels.
LEGACY, OWNERS = "0", "o"
#: How far our own requests through a Service got since it was last switched.
UNPROVEN, OUTDATED, PROVEN = 0, 1, 2

RELEASE, CONFIG_MAP = "release", "configmap"
#: Marks in what moved since an observation: not by us, so that a promise about us does not count it.
PODS_SUFFERED, DIVERTED = "pods suffered", "diverted"


class Health:
    """What the newest answer of Prometheus says about the candidate."""

    NONE, GOOD, BAD, NO_DATA, ERROR, FORMER, OLD = range(7)
    NAMES = ("none yet", "Healthy", "Unhealthy", "NoData", "Error", "of another revision", "stale")


class Pod(NamedTuple):
    """One pod that was not told to end."""

    slot: int
    ready: bool = False
    young: bool = True
    #: Made after the last switch, by its creation time.
    after: bool = False
    #: Users hold connections to it.
    met: bool = False
    #: It crashes again and again.
    ill: bool = False
    #: It carries the serving label.
    told: bool = True
    claimed: bool = False


class Workload(NamedTuple):
    """One Deployment, and what its ReplicaSet made."""

    component: int
    revision: str
    colour: str
    replicas: int
    pods: tuple[Pod, ...] = ()
    #: Some of its pods were told to end and still do what they do.
    leaving: bool = False
    claimed: bool = False
    #: Of a user's Deployment: it carries our marks; its rollouts are held still.
    adopted: bool = False
    paused: bool = False

    @property
    def key(self) -> str:
        return f"deployment/{self.component}{self.revision}{self.colour}"

    def pod_key(self, slot: int) -> str:
        return f"pod/{self.component}{self.revision}{self.colour}/{slot}"


class Service(NamedTuple):
    """A Service that users reach, in three layers: what it selects, what is listed, where nodes send."""

    selects: str = ABSENT
    listed: str = ABSENT
    routed: str = ABSENT
    ours: bool = True
    claimed: bool = True
    proof: int = UNPROVEN
    preview: str = ABSENT
    #: It moved since the last switch of it was decided.
    moved: bool = True
    #: Nobody but us ever set its selector since we did.
    owned: bool = True


class Cluster(NamedTuple):
    """What is true at one moment."""

    spec: str
    notes: tuple[tuple[str, str], ...]
    status: int
    recorded: str
    workloads: tuple[Workload, ...]
    services: tuple[Service, ...]
    jobs: tuple[tuple[str, str], ...] = ()
    published: str = ""
    published_claimed: bool = False
    health: int = Health.NONE
    #: Our own requests to the candidate before the switch: none, good, bad.
    preview: str = ""


class Write(NamedTuple):
    """One effect as the abstract cluster makes it: `items` by kind, `guards` the objects it is conditional upon."""

    kind: str
    items: tuple[tuple[str, ...], ...]
    guards: frozenset[str] = frozenset()
    #: Carries the epoch of the leader that decided it.
    stamped: bool = False


class Hand(NamedTuple):
    """A pass that was decided on an observation and not made yet, and what moved since."""

    #: Number of the status that it still has to write.
    status: int | None
    write: Write | None
    switches: bool = False
    moved: frozenset[str] = frozenset()
    #: Another leader has taken over meanwhile.
    deposed: bool = False
    #: How many moves of others it has outlasted.
    age: int = 0


class World(NamedTuple):
    """A state of the model."""

    cluster: Cluster
    hand: Hand | None = None
    spent: tuple[int, ...] = ()


def service_key(index: int) -> str:
    return f"service/{index}"


def covers(target: str, workload: Workload, pod: Pod) -> bool:
    """Whether something that selects `target` selects this pod."""
    return target in (workload.revision, OWNERS) or (target == WIDE and pod.told)


def ready_behind(cluster: Cluster, index: int, target: str) -> list[tuple[Workload, Pod]]:
    """Ready pods of the component of that index that `target` selects."""
    return [
        (workload, pod)
        for workload in cluster.workloads
        if workload.component == index
        for pod in workload.pods
        if pod.ready and covers(target, workload, pod)
    ]


def workload_of(cluster: Cluster, key: str) -> Workload | None:
    """The Deployment of that key, where it exists or leaves pods behind."""
    return next((workload for workload in cluster.workloads if workload.key == key), None)


def with_workload(cluster: Cluster, new: Workload) -> Cluster:
    """The cluster with that Deployment put in or replaced; one without anything left is taken out."""
    others = [workload for workload in cluster.workloads if workload.key != new.key]
    if new.replicas != GONE or new.leaving or new.pods:
        others.append(new)
    return cluster._replace(workloads=tuple(sorted(others, key=_order)))


def with_service(cluster: Cluster, index: int, service: Service) -> Cluster:
    services = list(cluster.services)
    services[index] = service
    return cluster._replace(services=tuple(services))


def _order(workload: Workload) -> tuple[int, str, str]:
    return workload[:3]
