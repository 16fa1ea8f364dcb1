"""Adoption: a Deployment that a user made, and the Services that lead to it, become what an upgrade begins from.

Nothing is moved for it. The Deployment is marked and its rollouts are paused, the Services are told to select what
they select already, by one label more; from then on it is the active revision, and the release's own first one is
brought up beside it, proven and switched to as in any upgrade. Everything is computed from what is there, so that
whoever comes after a crash finds the same next step.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import ComponentService
from conductor.domain.adoptable import adopted_revision, problem, unsettled
from conductor.domain.effects import AdoptObject, CreateObject, DeleteObjects
from conductor.domain.found import FoundDeployment
from conductor.domain.manifests import revision_record
from conductor.domain.revision import Revision, pod_labels, steady_selector
from conductor.domain.routing import reached, services_of
from conductor.domain.situation import Acting, Recognising, Situation, Waiting
from conductor.domain.snapshot import ServiceState, Snapshot, Workload
from conductor.domain.versioned import scale

#: What stands outside of the release wakes nobody.
_LOOK_AGAIN = timedelta(seconds=3)
_MARKS = (names.LABEL_RELEASE, names.LABEL_COMPONENT, names.LABEL_COLOUR, names.LABEL_REVISION)


def adoption(s: Snapshot, active: Revision | None) -> Situation | None:
    """What is to be taken over or handed back before anything else; None where there is nothing of either."""
    if s.spec is None:
        return None
    if s.spec.adopt is None:
        return _handing_back(s, active)
    return _adopting(s) if active is None else None


def _adopting(s: Snapshot) -> Situation | None:
    assert s.spec is not None
    if s.found is None or _switched_before(s):
        return None
    if (refusal := problem(s, s.found)) is not None:
        return Waiting(Reason.ADOPTION_REFUSED, refusal, s.now + _LOOK_AGAIN, stalled=True)
    if s.spec.paused:
        return Waiting(Reason.PAUSED, "spec.paused is true; set it to false to have what runs adopted")
    if not s.new_upgrades:
        return Waiting(Reason.PAUSED, "the operator's flag bluegreen_cp is off: nothing is adopted")
    if (moving := unsettled(s, s.found)) is not None:
        return _let_go_on(s, moving)
    revision = adopted_revision(s, s.found)
    if (stale := _marked_otherwise(s, revision)) is not None:
        return _let_go_on(s, stale)
    if revision.hash not in s.revisions:
        raw = revision.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return Acting(
            CreateObject(revision_record(s, revision, raw)),
            Reason.ADOPTING,
            f"recording what runs as revision {revision.hash}",
        )
    return _mark(s, revision) or _recognised(s, revision)


def _switched_before(s: Snapshot) -> bool:
    """Whether a Service leads to a revision of ours: this release was here before, and is only installed again."""
    return any(
        state.release == s.name and names.LABEL_REVISION in state.selector for _, state in _services(s)
    )


def _let_go_on(s: Snapshot, deployment: FoundDeployment) -> Situation:
    """A rollout is never held up half-way: what was marked and paused is let go until it has ended."""
    message = (
        f"pods of Deployment {deployment.name} are of several templates: a rollout is under way, or others carry the "
        "labels that it selects; it is adopted once that has ended"
    )
    if deployment.release != s.name:
        return Waiting(Reason.ADOPTING, message, s.now + _LOOK_AGAIN)
    return Acting(_unmarked(deployment.name, deployment.resource_version), Reason.ADOPTING, message)


def _marked_otherwise(s: Snapshot, revision: Revision) -> FoundDeployment | None:
    assert s.found is not None
    found = s.found.deployments.values()
    return next((item for item in found if item.release and item.revision != revision.hash), None)


def _mark(s: Snapshot, revision: Revision) -> Acting | None:
    """Deployments first: paused, their pods keep the label by which Services are told apart."""
    assert s.spec is not None
    assert s.found is not None
    assert revision.adopted is not None
    for name, workload in revision.adopted.workloads.items():
        found = s.found.deployments[workload.name]
        if found.release and found.paused:
            continue
        labels = pod_labels(s.name, name, s.spec.traffic.current, revision.hash)
        annotations = {names.ANNOTATION_ADOPTED: "true", names.ANNOTATION_EPOCH: str(s.epoch)}
        change = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"paused": True}}
        return Acting(
            AdoptObject("Deployment", workload.name, True, change, found.resource_version),
            Reason.ADOPTING,
            f"taking over Deployment {workload.name}: its rollouts are paused, its pods stay as they are",
        )
    for component, service in services_of(revision):
        state = s.services[service.name]
        selector = steady_selector(s.name, component, revision, service.name)
        if state.release == s.name and dict(state.selector) == selector:
            continue
        labels = {
            names.LABEL_RELEASE: s.name,
            names.LABEL_COMPONENT: component.name,
            names.LABEL_ROLE: names.ROLE_SERVING,
        }
        change = {
            "metadata": {"labels": labels, "annotations": {names.ANNOTATION_EPOCH: str(s.epoch)}},
            "spec": {"selector": selector},
        }
        return Acting(
            AdoptObject("Service", service.name, True, change, state.resource_version),
            Reason.ADOPTING,
            f"taking over Service {service.name}: it selects the same pods, and none that come beside them",
        )
    return None


def _recognised(s: Snapshot, revision: Revision) -> Recognising:
    assert s.spec is not None
    return Recognising(
        revision.hash,
        revision.version,
        s.spec.traffic.current,
        Reason.ADOPTED,
        f"{revision.version} serves as it did before, adopted as {s.spec.traffic.current}",
    )


def _handing_back(s: Snapshot, active: Revision | None) -> Situation | None:
    """`spec.adopt` was taken out: what was adopted is its owner's again, as it stands.

    The mark on the Deployment goes last: it is what tells that something is left to be done.
    """
    marked = [workload for workload in s.workloads if workload.adopted]
    if marked and active is not None and active.adopted is not None:
        said = f"spec.adopt was taken out: {active.version} is handed back as it runs"
        return Recognising("", "", None, Reason.HANDED_BACK, said)
    if active is None:
        # Also where no Deployment is marked any more: a leader that was deposed may have written this late.
        for service, state in _services(s):
            if state.release == s.name and names.LABEL_POD_TEMPLATE_HASH in state.selector:
                return hand_back_service(service.name, state)
    return hand_back_deployment(s, marked[0]) if marked else None


def hand_back_service(name: str, state: ServiceState) -> Acting:
    """A Service selects again by what its owner wrote, and no more."""
    ours = [key for key in state.selector if key.startswith(f"{names.GROUP}/")]
    gone: dict[str, Any] = dict.fromkeys([names.LABEL_POD_TEMPLATE_HASH, *ours])
    labels = dict.fromkeys([names.LABEL_RELEASE, names.LABEL_COMPONENT, names.LABEL_ROLE])
    change = {
        "metadata": {"labels": labels, "annotations": {names.ANNOTATION_EPOCH: None}},
        "spec": {"selector": gone},
    }
    return Acting(
        AdoptObject("Service", name, False, change, state.resource_version),
        Reason.HANDING_BACK,
        f"handing back Service {name}",
    )


def hand_back_deployment(s: Snapshot, workload: Workload) -> Acting:
    """The record first, then the Deployment: whatever its size is then, it keeps."""
    if workload.revision in s.revisions:
        return Acting(
            DeleteObjects((("ControllerRevision", names.revision_name(s.name, workload.revision)),)),
            Reason.HANDING_BACK,
            f"forgetting what was adopted with Deployment {workload.name}",
        )
    return Acting(
        _unmarked(workload.name, workload.resource_version),
        Reason.HANDING_BACK,
        f"handing back Deployment {workload.name} as it stands, with {workload.replicas} pod(s)",
    )


def _unmarked(name: str, resource_version: str) -> AdoptObject:
    annotations = dict.fromkeys([names.ANNOTATION_ADOPTED, names.ANNOTATION_EPOCH])
    change = {
        "metadata": {"labels": dict.fromkeys(_MARKS), "annotations": annotations},
        "spec": {"paused": None},
    }
    return AdoptObject("Deployment", name, False, change, resource_version)


def hold_still(s: Snapshot, revision: Revision) -> Acting | None:
    """Pause an adopted Deployment again that somebody let go on: pods of another template have no users led to them."""
    for workload in s.workloads:
        if workload.adopted and workload.revision == revision.hash and not workload.paused:
            change = {"spec": {"paused": True}}
            return Acting(
                AdoptObject("Deployment", workload.name, True, change, workload.resource_version),
                Reason.REPAIRING,
                f"rollouts of the adopted Deployment {workload.name} were resumed by somebody; pausing them again",
            )
    return None


def send_away(s: Snapshot, serving: Revision, standby: Revision | None = None) -> Acting | None:
    """An adopted Deployment that somebody scaled up again beside what serves now; None where there is none.

    As often as it comes: its owner's manifest asks for it every time it is applied, and as long as none of its pods
    is there, that manifest and the Service's together lead nobody away.
    """
    kept = {serving.hash, standby.hash if standby is not None else ""}
    returned = [
        item for item in s.workloads if item.adopted and item.replicas > 0 and item.revision not in kept
    ]
    if not returned or not reached(s, serving):
        return None
    workload = returned[0]
    return Acting(
        scale(workload, 0),
        Reason.ADOPTED_RETURNED,
        f"somebody scaled Deployment {workload.name}, which was adopted, to {workload.replicas}; scaling it back to "
        "zero. Take it out of what applies it and delete it, or take spec.adopt out to have it handed back",
    )


def _services(s: Snapshot) -> Iterator[tuple[ComponentService, ServiceState]]:
    """Services that the spec names and that are there."""
    for component in s.spec.components if s.spec else ():
        for service in component.services:
            if service.name in s.services:
                yield service, s.services[service.name]


def given_back(s: Snapshot) -> Acting | None:
    """What was adopted was not ours to make, and is not ours to delete."""
    marked = [workload for workload in s.workloads if workload.adopted]
    if not marked:
        return None
    records = [s.revisions[workload.revision] for workload in marked if workload.revision in s.revisions]
    taken = {name for record in records if record.adopted for name in record.adopted.selectors}
    for name, service in sorted(s.services.items()):
        if name in taken and service.release == s.name:
            return hand_back_service(name, service)
    return hand_back_deployment(s, marked[0])
