"""Routes that a release names: somebody else's objects, which carry no label of ours and which no watch shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from conductor.adapters.kube import ApiError, Kube
from conductor.api.spec import ReleaseSpec
from conductor.api.status import Phase, ReleaseStatus
from conductor.domain.revision import Revision
from conductor.domain.snapshot import RouteGap, RouteState
from conductor.domain.traffic.choice import named_routes
from conductor.observe import read

KIND = "HTTPRoute"


@dataclass(frozen=True)
class Routes:
    """What was found of the routes that are named."""

    names: frozenset[str] = frozenset()
    states: Mapping[str, RouteState] = field(default_factory=dict)
    gaps: Mapping[str, RouteGap] = field(default_factory=dict)


def wanted(
    spec: ReleaseSpec | None, status: ReleaseStatus, revisions: Mapping[str, Revision]
) -> frozenset[str]:
    """Names of routes that a decision may read: those in our hand, and those that any spec in use names."""
    hashes = [status.active_revision, status.upgrade.to_revision if status.upgrade else ""]
    specs = [spec, *(revisions[hash_].spec for hash_ in hashes if hash_ in revisions)]
    return frozenset(status.traffic.routes).union(*(named_routes(item) for item in specs if item is not None))


def read_routes(kube: Kube, namespace: str, names: Iterable[str], phase: Phase) -> Routes:
    """Every route, as it is now. Before a candidate is made it is asked whether they may be written, too.

    Raises ApiError where the API server does not answer.
    """
    states: dict[str, RouteState] = {}
    gaps: dict[str, RouteGap] = {}
    for name in sorted(names):
        try:
            found = kube.get(KIND, namespace, name)
            if found is not None and phase is Phase.PREFLIGHT:
                version = found["metadata"]["resourceVersion"]
                test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
                kube.patch(KIND, namespace, name, [test], dry_run=True)
        except ApiError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            gaps[name] = RouteGap.FORBIDDEN
            continue
        if found is not None:
            states[name] = read.route(found)
        else:
            gaps[name] = RouteGap.MISSING if kube.served(KIND) else RouteGap.NOT_SERVED
    return Routes(frozenset(names), states, gaps)
