"""Which provider leads a release's users now: the one place that asks for `spec.traffic.provider`."""

from conductor.domain.snapshot import Snapshot
from conductor.domain.traffic.provider import Traffic
from conductor.domain.traffic.services import ServiceTraffic


def traffic_of(s: Snapshot) -> Traffic:
    """The provider of the upgrade under way, or of the release at rest."""
    return ServiceTraffic(s)
