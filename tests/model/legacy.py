"""What a user has before there is a release: a Deployment by hand for each component, and the Services in front.

It is adopted as the version `0`: the real revision that `domain.adoptable` makes of it. Rollouts of its Deployments
are not modelled, so that there is one template of each, and one such revision.
"""

from typing import Any

from tests.model.bounds import Bounds, Part
from tests.model.statuses import NOW, VERSION
from tests.model.world import LEGACY, OWNERS, Cluster, Pod, Service, Workload, covers

from conductor.api import names
from conductor.api.spec import ReleaseSpec
from conductor.api.status import ReleaseStatus
from conductor.domain import snapshot as real
from conductor.domain.adoptable import adopted_revision
from conductor.domain.found import Found, FoundDeployment, FoundPod
from conductor.domain.manifests import service_ports
from conductor.domain.revision import Revision

TEMPLATE_HASH = "7f9c"
#: What a first revision is recorded as, whatever the release's colour field says later.
COLOUR = "b"


def owners_labels(part: Part) -> dict[str, str]:
    """Labels of the pods, which every later version carries too; the Service selects by them."""
    return {"app": part.name}


def deployment_name(part: Part) -> str:
    return f"legacy-{part.name}"


def consent(bounds: Bounds) -> dict[str, Any]:
    """`spec.adopt`."""
    named = [{"component": part.name, "name": deployment_name(part)} for part in bounds.parts]
    return {"version": bounds.version_of[LEGACY], "deployments": named}


def workloads(bounds: Bounds) -> tuple[Workload, ...]:
    """Its Deployments as they run before anybody looked at them."""
    return tuple(
        Workload(
            index,
            LEGACY,
            COLOUR,
            part.replicas,
            tuple(Pod(slot, True, False) for slot in range(part.replicas)),
        )
        for index, part in enumerate(bounds.parts)
    )


def services(bounds: Bounds) -> tuple[Service, ...]:
    """Its Services: they lead to every pod with the owner's labels."""
    leading = Service(selects=OWNERS, listed=OWNERS, routed=OWNERS, ours=False, owned=False)
    return tuple(leading if part.served else Service() for part in bounds.parts)


def revision(bounds: Bounds, spec: ReleaseSpec) -> Revision:
    """What it is recorded as."""
    plain = Cluster("", (), 0, "", workloads(bounds), services(bounds))
    states = {
        service.name: real.ServiceState(
            name=service.name,
            release="",
            selector=owners_labels(part),
            ports=service_ports(service),
            resource_version=VERSION,
            epoch=-1,
            cluster_ip="10.0.0.1",
        )
        for part, component in zip(bounds.parts, spec.components, strict=True)
        for service in component.services
    }
    s = real.Snapshot(
        now=NOW,
        name="",
        namespace="",
        uid="",
        generation=1,
        resource_version=VERSION,
        annotations={},
        deleting=False,
        finalizers=(),
        spec=spec,
        findings=(),
        digest="",
        status=ReleaseStatus(),
        epoch=1,
        services=states,
    )
    return adopted_revision(s, found(bounds, plain, "", ""))


def found(bounds: Bounds, cluster: Cluster, release: str, hash_: str) -> Found:
    """What a pass reads of it before anything serves; `release` and `hash_` are those of marks on it."""
    deployments = {}
    for workload in cluster.workloads:
        if workload.revision != LEGACY:
            continue
        part = bounds.parts[workload.component]
        name = deployment_name(part)
        pods = tuple(FoundPod(f"{name}-{pod.slot}", pod.ready, TEMPLATE_HASH) for pod in workload.pods)
        deployments[name] = FoundDeployment(
            name=name,
            uid=f"uid-{name}",
            resource_version=VERSION,
            replicas=workload.replicas,
            settled=len(pods) == workload.replicas,
            paused=workload.paused,
            controller="",
            release=release if workload.adopted else "",
            revision=hash_ if workload.adopted else "",
            selector=owners_labels(part),
            plain_selector=True,
            template={},
            pods=pods,
        )
    selected = {
        f"mc-{bounds.parts[index].name}": frozenset(
            f"{deployment_name(bounds.parts[index])}-{pod.slot}"
            if workload.revision == LEGACY
            else f"another-{workload.key}-{pod.slot}"
            for workload in cluster.workloads
            if workload.component == index
            for pod in workload.pods
            if covers(service.selects, workload, pod)
        )
        for index, service in enumerate(cluster.services)
        if service.selects
    }
    return Found(deployments, selected)


def selector(part: Part, target: str, narrow: dict[str, str]) -> dict[str, str]:
    """A target as the selector of a Service whose owner's keys stay in it."""
    owners = owners_labels(part)
    if target == OWNERS:
        return owners
    return {**owners, **({names.LABEL_POD_TEMPLATE_HASH: TEMPLATE_HASH} if target == LEGACY else narrow)}
