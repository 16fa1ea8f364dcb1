"""How many pods a revision is to have, as far as somebody asked for it: what may change without another colour.

The live spec speaks for the revision that it asks for. For any other one the objects that stand speak: they keep what
was asked for last. Only where there are none does the revision's record.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from conductor.api.spec import ReleaseSpec
from conductor.domain.companion import AUTOSCALER, KINDS, Asked, Companion, asked_by
from conductor.domain.revision import Revision
from conductor.domain.snapshot import Snapshot


@dataclass(frozen=True)
class Bounds:
    """Between which an autoscaler of ours keeps a Deployment's replicas."""

    least: int
    most: int

    def within(self, replicas: int) -> int:
        """The nearest number that it would leave alone."""
        return max(self.least, min(self.most, replicas))


def standing(s: Snapshot, kind: str, deployment: str) -> Companion | None:
    """The object of that kind that stands beside a Deployment, as far as such objects are known."""
    return next((item for item in s.companions or () if (item.kind, item.name) == (kind, deployment)), None)


def asks(spec: ReleaseSpec | None, digest: str, revisions: Iterable[Revision]) -> bool:
    """Whether the live spec, or the record of a revision that it does not speak for, asks for anything of the kind."""
    others = [revision.spec for revision in revisions if spec is None or revision.hash != digest]
    return any(
        asked_by(component, kind) is not None
        for item in (*([spec] if spec is not None else ()), *others)
        for component in item.components
        for kind in KINDS
    )


def asked_for(s: Snapshot, revision: Revision, component: str, kind: str) -> Asked | None:
    """What is asked for beside that component of that revision; None for nothing, and for what was adopted."""
    if revision.adopted is not None:
        return None
    if s.spec is not None and s.digest == revision.hash:
        return asked_by(s.spec.component(component), kind)
    workload = s.workload(component, revision.hash)
    found = standing(s, kind, workload.name) if workload is not None else None
    if found is not None and found.asked is not None:
        return found.asked
    return asked_by(revision.spec.component(component), kind)


def bounds(s: Snapshot, revision: Revision, component: str) -> Bounds | None:
    """Between which replicas that component is autoscaled; None where it is not, or by somebody else."""
    if all(item.name != component for item in revision.spec.components):
        return None
    asked = asked_for(s, revision, component, AUTOSCALER)
    return Bounds(asked["minReplicas"], asked["maxReplicas"]) if asked is not None else None


def least(s: Snapshot, revision: Revision, component: str) -> int:
    """The size that a component never falls below by itself: its replicas, or the least that it is scaled to."""
    found = bounds(s, revision, component)
    return found.least if found is not None else revision.spec.component(component).replicas


def size_when_made_again(s: Snapshot, revision: Revision, component: str, deployment: str) -> int:
    """Replicas of a Deployment that somebody deleted: as many as its autoscaler wanted last."""
    declared = revision.spec.component(component).replicas
    found, within = standing(s, AUTOSCALER, deployment), bounds(s, revision, component)
    if within is None:
        return declared
    return within.within(max(declared, found.desired) if found is not None else declared)
