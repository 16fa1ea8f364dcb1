"""What an earlier release of the same name left serving (`deletionPolicy: Orphan`): taken up, never installed over.

A new release knows nothing but what is there. Its Services say which revision users are on, and that revision's own
record says what it is; where they do not say it plainly, a person has to.
"""

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import Colour
from conductor.domain.revision import Revision
from conductor.domain.routing import pointing_at
from conductor.domain.situation import Recognising, Waiting
from conductor.domain.snapshot import ServiceState, Snapshot, served_components


def standing(s: Snapshot) -> Recognising | Waiting | None:
    """What serves already when a release is new; None where nothing does, or only what is asked for itself."""
    if s.status.sequence or s.status.active_revision or s.spec is None:
        return None
    led = [
        state
        for _, state in sorted(s.services.items())
        if state.release == s.name and state.role == names.ROLE_SERVING
    ]
    hashes = {state.selector.get(names.LABEL_REVISION, "") for state in led}
    for hash_ in sorted(hashes):
        revision = s.revision(hash_)
        if len(hashes) == 1 and revision is not None and _serves(s, revision):
            return _taken_up(s, revision)
    if hashes <= {s.digest}:
        # Its own install, which was cut off: it comes to its end as any other.
        return None
    return _unclear(s, led)


def _serves(s: Snapshot, revision: Revision) -> bool:
    return pointing_at(s, revision) and all(
        (workload := s.workload(component.name, revision.hash)) is not None and workload.replicas > 0
        for component in served_components(revision)
    )


def _taken_up(s: Snapshot, revision: Revision) -> Recognising:
    [component, *_] = served_components(revision)
    workload = s.workload(component.name, revision.hash)
    assert workload is not None
    others = sorted(item.name for item in s.workloads if item.revision != revision.hash and item.replicas > 0)
    left = f"; beside it run {', '.join(others)}, which are left as they are" if others else ""
    return Recognising(
        revision.hash,
        revision.version,
        workload.colour,
        Reason.TAKEN_UP,
        f"{revision.version} serves since an earlier release of this name, and is taken up as {workload.colour}{left}",
    )


def _unclear(s: Snapshot, led: list[ServiceState]) -> Waiting:
    said = ", ".join(
        f"{state.name} to {state.selector.get(names.LABEL_REVISION) or 'no single revision'}" for state in led
    )
    return Waiting(
        Reason.LEFT_BEHIND,
        f"Services of an earlier release of this name lead {said}, and not all to one recorded revision that runs; "
        f"nothing is installed over them. Let every selector name one revision ({names.LABEL_REVISION}) whose "
        "ControllerRevision and Deployments are there, or delete what is left, with -l "
        f"{names.LABEL_RELEASE}={s.name}",
        stalled=True,
    )


def standing_colour(s: Snapshot, revision: str) -> Colour | None:
    """The colour in which pods of that revision stand already: a release that was deleted is installed again."""
    found = [workload for workload in s.workloads if workload.revision == revision]
    return max(found, key=lambda workload: workload.replicas).colour if found else None
