"""Effects on the abstract cluster: what the API server does with each, and what it refuses.

A write that names resource versions is refused where one of those objects moved since it was read. `Api` holds the
rules one by one, so that a deliberate bug can take one of them away.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.model.world import (
    ABSENT,
    CONFIG_MAP,
    GONE,
    Cluster,
    Pod,
    Service,
    Workload,
    Write,
    with_service,
    with_workload,
    workload_of,
)

MADE, CONFLICT, REFUSED = "made", "conflict", "refused"


class Outcome(NamedTuple):
    """What came of a write."""

    result: str
    cluster: Cluster
    note: str = ""


class Api:
    """The API server's rules."""

    def refuses(self, write: Write, key: str, moved: frozenset[str]) -> bool:
        """Whether a write is refused because that object is not as it was read."""
        return key in write.guards and key in moved and f"{key} ended" not in moved

    def puts_back(self) -> bool:
        """Whether a switch that failed half-way takes back what it did."""
        return True

    def make(self, cluster: Cluster, write: Write, moved: frozenset[str] = frozenset()) -> Outcome:
        """The write as far as it is taken."""
        if write.kind == "switch":
            # All patches are tried dry before the first is made.
            if any(self.refuses(write, key, moved) for key, _, _ in write.items):
                return Outcome(CONFLICT, cluster)
            for item in write.items:
                cluster = _pointed(cluster, item, write.stamped)
            return Outcome(MADE, cluster)
        for item in write.items:
            if self.refuses(write, item[0], moved):
                return Outcome(CONFLICT, cluster)
            result, cluster = _VERBS[write.kind](cluster, item, write, moved)
            if result != MADE:
                return Outcome(result, cluster)
        return Outcome(MADE, cluster)

    def make_half(self, cluster: Cluster, write: Write) -> list[Outcome]:
        """Every way in which a switch of several Services can end in the middle of it."""
        if write.kind != "switch" or len(write.items) < 2:
            return []
        half = _pointed(cluster, write.items[0], write.stamped)
        found = [
            Outcome("crash", half, "the operator dies after the first Service"),
            Outcome("stuck", half, "the second Service is refused, and the first cannot be put back"),
        ]
        if self.puts_back():
            key, _, former = write.items[0]
            back = _pointed(half, (key, former, former), stamped=True)
            found.append(Outcome("back", back, "the second Service is refused, the first is put back"))
        else:
            found.append(Outcome("back", half, "the second Service is refused"))
        return found


def _pointed(cluster: Cluster, item: tuple[str, ...], stamped: bool) -> Cluster:
    index = int(item[0].rpartition("/")[2])
    service = cluster.services[index]
    changed = service._replace(selects=item[1], claimed=stamped, moved=True, owned=True)
    return with_service(cluster, index, changed)


def _applied(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    key, replicas = item
    place = key.rpartition("/")[2]
    found = workload_of(cluster, key) or Workload(int(place[0]), place[1], place[2], GONE)
    return MADE, with_workload(cluster, found._replace(replicas=int(replicas)))


def _created(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    found = workload_of(cluster, item[0])
    if found is not None and found.replicas != GONE:
        return MADE, cluster
    return _applied(cluster, item, write, moved)


def _scaled(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    found = workload_of(cluster, item[0])
    if found is None or found.replicas == GONE:
        return REFUSED, cluster
    return MADE, with_workload(cluster, found._replace(replicas=int(item[1])))


def _deleted(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    kind, _, rest = item[0].partition("/")
    if kind == "deployment":
        found = workload_of(cluster, item[0])
        if found is None:
            return MADE, cluster
        ended = found._replace(
            replicas=GONE, pods=(), leaving=found.leaving or bool(found.pods), claimed=False
        )
        return MADE, with_workload(cluster, ended)
    if kind == "job":
        return MADE, cluster._replace(jobs=tuple(job for job in cluster.jobs if job[0] != rest))
    if kind == "record":
        return MADE, cluster._replace(recorded=cluster.recorded.replace(rest, ""))
    service = cluster.services[int(rest)]
    if kind == "preview":
        return MADE, with_service(cluster, int(rest), service._replace(preview=ABSENT))
    gone = Service(preview=service.preview)
    return MADE, with_service(cluster, int(rest), gone)


def _shed(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    workload, pod = _pod_of(cluster, item[0], moved)
    if workload is None or pod is None:
        return MADE, cluster
    left = tuple(other for other in workload.pods if other.slot != pod.slot)
    return MADE, with_workload(cluster, workload._replace(pods=left, leaving=True))


def _labelled(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    workload, pod = _pod_of(cluster, item[0], moved)
    if workload is None or pod is None:
        return MADE, cluster
    return MADE, with_workload(cluster, with_pod(workload, pod._replace(told=bool(item[1]))))


def _pod_of(cluster: Cluster, key: str, moved: frozenset[str]) -> tuple[Workload | None, Pod | None]:
    """The pod that was meant: one that took its name since is another."""
    owner, _, slot = key.removeprefix("pod/").partition("/")
    workload = workload_of(cluster, f"deployment/{owner}")
    if workload is None or f"{key} ended" in moved:
        return workload, None
    return workload, next((pod for pod in workload.pods if pod.slot == int(slot)), None)


def with_pod(workload: Workload, new: Pod) -> Workload:
    """The Deployment with that pod put in place of the one in its slot."""
    return workload._replace(pods=tuple(new if pod.slot == new.slot else pod for pod in workload.pods))


def _claimed(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    kind, _, rest = item[0].partition("/")
    if kind == "service":
        service = cluster.services[int(rest)]
        if service.selects == ABSENT:
            return MADE, cluster
        return MADE, with_service(cluster, int(rest), service._replace(claimed=write.stamped, moved=True))
    if kind == CONFIG_MAP:
        return MADE, cluster._replace(published_claimed=write.stamped)
    if kind == "deployment":
        found = workload_of(cluster, item[0])
        if found is None or found.replicas == GONE:
            return MADE, cluster
        return MADE, with_workload(cluster, found._replace(claimed=write.stamped))
    workload, pod = _pod_of(cluster, item[0], moved)
    if workload is None or pod is None:
        return MADE, cluster
    return MADE, with_workload(cluster, with_pod(workload, pod._replace(claimed=write.stamped)))


def _adopted(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    if item[0].startswith("deployment/"):
        found = workload_of(cluster, item[0])
        if found is None or found.replicas == GONE:
            return CONFLICT, cluster
        marked: dict[str, dict[str, Any]] = {
            "mark": {"adopted": True, "paused": True, "claimed": write.stamped},
            "pause": {"paused": True},
            "unmark": {"adopted": False, "paused": False, "claimed": False},
        }
        return MADE, with_workload(cluster, found._replace(**marked[item[1]]))
    index = int(item[0].rpartition("/")[2])
    service = cluster.services[index]
    if service.selects == ABSENT:
        return CONFLICT, cluster
    ours = bool(item[2])
    # Both selectors choose the same pods, so that there is nothing that EndpointSlices and nodes would have to follow.
    layers: dict[str, Any] = {
        name: item[1] for name in ("listed", "routed") if getattr(service, name) == service.selects
    }
    taken = service._replace(selects=item[1], ours=ours, claimed=write.stamped, moved=True, **layers)
    return MADE, with_service(cluster, index, taken)


def _published(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    if not item[2] and cluster.published:
        return CONFLICT, cluster
    return MADE, cluster._replace(published=item[1], published_claimed=False)


def _previewed(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    index = int(item[0])
    return MADE, with_service(cluster, index, cluster.services[index]._replace(preview=item[1]))


def _served(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    index = int(item[0])
    service = cluster.services[index]
    if service.selects != ABSENT:
        return (MADE if service.ours else REFUSED), cluster
    return MADE, with_service(
        cluster,
        index,
        service._replace(selects=item[1], ours=True, claimed=write.stamped, moved=True, owned=True),
    )


def _recorded(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    return MADE, cluster._replace(recorded="".join(sorted({*cluster.recorded, item[0]})))


def _job_made(
    cluster: Cluster, item: tuple[str, ...], write: Write, moved: frozenset[str]
) -> tuple[str, Cluster]:
    if any(name == item[0] for name, _ in cluster.jobs):
        return MADE, cluster
    return MADE, cluster._replace(jobs=tuple(sorted((*cluster.jobs, (item[0], "running")))))


_Verb = Callable[[Cluster, tuple[str, ...], Write, frozenset[str]], tuple[str, Cluster]]
_VERBS: dict[str, _Verb] = {
    "apply": _applied,
    "create": _created,
    "scale": _scaled,
    "delete": _deleted,
    "shed": _shed,
    "label": _labelled,
    "claim": _claimed,
    "publish": _published,
    "preview": _previewed,
    "service": _served,
    "record": _recorded,
    "adopt": _adopted,
    "job": _job_made,
}
