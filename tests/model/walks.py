"""Random walks through more of everything, found, shrunk and told again by hypothesis."""

from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.model import bounds as kinds
from tests.model.beginnings import beginning, fairly
from tests.model.bounds import API, WORKER, Bounds, Part
from tests.model.broken import BrokenPromiseError
from tests.model.environment import HOURS_PASS
from tests.model.moves import FAIR, PASS, Move, Moves
from tests.model.passes import Operator
from tests.model.promises import Promises
from tests.model.world import Health, World

_SHORTEST, _LONGEST = 20, 120
WIDE = Bounds(
    "walks",
    "three components, two pods, a ramp, migrations and approvals, and up to eight disturbances of any kind",
    parts=(Part("api", 2), Part("web", 2), WORKER),
    wishes=("A", "B", "C", "X", "Bp", "B>A"),
    ramp=(50,),
    migrations="AfterSoak",
    approvals=True,
    healths=(Health.BAD, Health.NO_DATA, Health.ERROR, Health.FORMER, Health.OLD),
    allowed=dict.fromkeys(kinds.DISTURBANCES, 3),
    total=8,
    stale_age=4,
)
INSTALL = Bounds(
    "walks of a first install",
    "the same from nothing",
    parts=(API, Part("web", 2), WORKER),
    installed="",
    asked="A",
    wishes=("A", "B", "X", "Ap"),
    migrations="Manual",
    allowed=dict.fromkeys(kinds.DISTURBANCES, 3),
    total=8,
    stale_age=4,
)


class Walker:
    """Walks through one configuration; what was decided once is remembered over all walks."""

    def __init__(self, bounds: Bounds) -> None:
        operator = Operator(bounds)
        self._promises = Promises(operator)
        self._moves = Moves(operator, self._promises)
        self._begin = beginning(self._moves)
        #: How many walks came to each phase.
        self.reached: Counter[str] = Counter()

    def walk(self, choices: list[int]) -> None:
        """Take these choices, then let everything be fair. Raises AssertionError with the steps."""
        world, steps, phases = self._begin, list[str](), set[str]()
        try:
            for choice in choices:
                taken = self._chosen(world, choice)
                if taken is None:
                    break
                steps.append(taken.label)
                world = taken.world
                self._promises.on_state(world.cluster)
                phases.add(str(self._moves.operator.status(world.cluster).phase))
            fairly(self._moves, world)
        except BrokenPromiseError as broken:
            told = _numbered([*steps, *broken.before, broken.told])
            raise AssertionError(f"invariant {broken.number}: {broken}\n{told}") from broken
        except AssertionError as endless:
            raise AssertionError(f"{endless}\nafter\n{_numbered(steps)}") from endless
        self.reached.update(phases)

    def _chosen(self, world: World, choice: int) -> Move | None:
        """Every other step is a pass where there is one, and hours pass seldom: else no walk would come far."""
        moves = list(self._moves.from_(world))
        passes = [move for move in moves if move.kind == PASS]
        fair = [move for move in moves if move.kind == FAIR and move.label != HOURS_PASS]
        which, index = choice % 8, choice // 8
        liked = (passes or fair, passes or fair, passes or fair, passes or fair, fair, fair, fair, moves)[
            which
        ]
        among = liked or moves
        return among[index % len(among)] if among else None


def _numbered(steps: list[str]) -> str:
    return "\n".join(f"  {place:3} {step}" for place, step in enumerate(steps, 1))


def walks(walker: Walker, examples: int) -> Callable[[], None]:
    """So many walks, as a test."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(
        st.integers(_SHORTEST, _LONGEST).flatmap(
            lambda steps: st.lists(st.integers(0, 400), min_size=steps, max_size=steps)
        )
    )
    def one(choices: list[int]) -> None:
        walker.walk(choices)

    return one


def walk(examples: int, say: Callable[[str], None]) -> bool:
    """Walk through both configurations, and say what came of it."""
    for bounds in (WIDE, INSTALL):
        walker = Walker(bounds)
        try:
            walks(walker, examples)()
        except AssertionError as broken:
            say(f"  BROKEN {bounds.name}: {broken}")
            return False
        say(f"  {bounds.name}: {bounds.about}; {_SHORTEST} to {_LONGEST} steps each")
        reached = ", ".join(f"{phase} {number}" for phase, number in walker.reached.most_common())
        say(f"  of {examples} walks so many came to: {reached}")
    return True
