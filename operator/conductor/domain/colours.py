"""Which colour has which share of new connections, as the status tells it."""

from conductor.api.spec import Colour
from conductor.api.status import ReleaseStatus, TrafficStatus
from conductor.domain.snapshot import Snapshot


def shared(status: ReleaseStatus, gaining: Colour, percent: int) -> TrafficStatus:
    share = {str(gaining): percent, str(gaining.other): 100 - percent}
    return status.traffic.model_copy(update=share)


def all_on(s: Snapshot, colour: Colour) -> TrafficStatus:
    return s.status.traffic.model_copy(
        update={
            "current": colour,
            "blue": 100 if colour is Colour.BLUE else 0,
            "green": 100 if colour is Colour.GREEN else 0,
            "converged_at": s.now,
        }
    )
