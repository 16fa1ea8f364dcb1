"""Of whom Prometheus tells, by phase: of the active colour while its schema grows, else of the candidate."""

from tests.model.bounds import Bounds

from conductor.api.status import Phase, ReleaseStatus

OF_CANDIDATE = frozenset({Phase.VERIFYING, Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING})
#: In their order.
OF_ACTIVE = (Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING)


def tells_of_active(bounds: Bounds, status: ReleaseStatus) -> bool:
    """Whether the active colour is looked at: an expand step is about to change the schema that it runs on, or did."""
    upgrade = status.upgrade
    expands = bool(bounds.migrations) and upgrade is not None and bool(upgrade.from_revision)
    return expands and status.phase in OF_ACTIVE


def told(bounds: Bounds, status: ReleaseStatus) -> bool:
    """Whether Prometheus is asked at all."""
    return status.phase in OF_CANDIDATE or tells_of_active(bounds, status)
