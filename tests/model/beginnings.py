"""Where paths begin, and where a path comes to when nobody disturbs it any more."""

from tests.model import legacy
from tests.model.bounds import DISTURBANCES
from tests.model.broken import BrokenPromiseError
from tests.model.environment import HOURS_PASS, SECONDS_PASS
from tests.model.moves import PASS, Moves
from tests.model.world import ASTRAY, Cluster, Service, World

from conductor.api.status import ReleaseStatus

_FAIR_STEPS = 2000


def beginning(moves: Moves) -> World:
    """The installed version at rest, and people who ask for another one; or nothing but the release, and what is to
    be adopted by it.
    """
    bounds, statuses = moves.operator.bounds, moves.operator.statuses
    nothing = Service(selects=ASTRAY, listed=ASTRAY, routed=ASTRAY, ours=False)
    services = tuple(nothing if bounds.foreign and part.served else Service() for part in bounds.parts)
    status = statuses.number(ReleaseStatus(epoch=1))
    spent = (0,) * len(DISTURBANCES)
    workloads = legacy.workloads(bounds) if bounds.legacy else ()
    services = legacy.services(bounds) if bounds.legacy else services
    first = World(Cluster(bounds.installed or bounds.asked, (), status, "", workloads, services), None, spent)
    if not bounds.installed:
        return first
    installed = fairly(moves, first)
    return World(installed.cluster._replace(spec=bounds.asked), None, spent)


def fairly(moves: Moves, world: World) -> World:
    """The end that undisturbed passes come to, with time passing only where nothing else happens.

    Raises AssertionError where there is none, and BrokenPromiseError.
    """
    told: list[str] = []
    for _ in range(_FAIR_STEPS):
        try:
            steps = [move for move in moves.from_(world) if move.fair]
        except BrokenPromiseError as broken:
            broken.before = tuple(told)
            raise
        passes = [move for move in steps if move.kind == PASS]
        if not passes and world.hand is None and moves.decide(world.cluster).settled:
            return world
        if not steps:
            break
        others = [move for move in steps if move.label not in (SECONDS_PASS, HOURS_PASS)]
        chosen = (others if world.hand is not None else passes or others or steps)[0]
        told.append(chosen.label)
        world = chosen.world
    raise AssertionError(
        "no end after all these fair steps, the last of which are\n  " + "\n  ".join(told[-20:])
    )
