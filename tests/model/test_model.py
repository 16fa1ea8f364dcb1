"""The model in seconds: small configurations hold, and what it would not see it would not find."""

import pytest
from tests.model.bounds import DISTURBANCES, QUICK, Bounds
from tests.model.broken import LIVENESS
from tests.model.exploration import Exploration
from tests.model.mutant import Mutant
from tests.model.mutants import MUTANTS

from conductor.domain.determine import determine
from conductor.domain.plan import plan
from conductor.domain.situation import Acting

#: What the design numbers and the model can see, and that every state ends well.
INVARIANTS = {LIVENESS, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
#: One for each invariant, those that take the fewest states.
SOME = [
    min((m for m in MUTANTS if m.breaks == number), key=lambda m: m.bounds.total)
    for number in sorted(INVARIANTS)
]


@pytest.mark.parametrize("bounds", QUICK, ids=lambda bounds: bounds.name)
def test_every_promise_is_kept_in_every_state(bounds: Bounds) -> None:
    result = Exploration(bounds).run()

    assert result.counterexample is None, str(result.counterexample)
    assert {"Stable", "Stalled: RolledBack"} <= result.ends.keys()
    assert result.states > 1500


def test_each_invariant_has_a_mutant() -> None:
    assert {mutant.breaks for mutant in MUTANTS} == INVARIANTS
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", SOME, ids=lambda mutant: mutant.name)
def test_a_deliberate_bug_is_found_with_the_steps_to_it(mutant: Mutant) -> None:
    with mutant.patched():
        result = Exploration(mutant.bounds, api=mutant.api(), effect_first=mutant.effect_first).run()

    assert result.counterexample is not None
    assert result.counterexample.number == mutant.breaks
    assert result.counterexample.steps


def test_nothing_is_decided_upon_what_the_model_forgets() -> None:
    """After each pass once on the status as it was written and once on what the model keeps of it."""
    bounds = QUICK[0]
    exploration = Exploration(bounds, most=1500)
    exploration.run()
    operator = exploration.operator
    compared = 0
    for world in exploration.worlds:
        thought = operator.think(world.cluster)
        decision = thought.decision
        if world.hand is not None or decision.status is None:
            continue
        after = operator.with_status(world.cluster, decision.status, decision.write, decision.switches)
        if decision.write is not None:
            after = operator.api.make(after, decision.write).cluster
        after = operator.tidy(after)
        kept = operator.observer.snapshot(after)
        written = operator.observer.snapshot(after, thought.plan.status)
        first, second = determine(kept), determine(written)
        assert type(first) is type(second), thought.decision.told
        assert getattr(first, "reason", "") == getattr(second, "reason", ""), thought.decision.told
        if isinstance(first, Acting) and isinstance(second, Acting):
            assert first.effect.name == second.effect.name
            assert first.effect.subject == second.effect.subject
        assert operator.statuses.number(plan(kept, first).status) == operator.statuses.number(
            plan(written, second).status
        ), thought.decision.told
        compared += 1
    assert compared > 200


def test_a_path_reads_as_what_happened() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.breaks == 3)
    with mutant.patched():
        found = Exploration(mutant.bounds, api=mutant.api()).run().counterexample

    assert found is not None
    told = str(found)
    assert told.startswith(
        "invariant 3: components are on a mixed pair after a switch: ['A', 'B']\n    1 acting"
    )
    assert "pointing all Services at 1.1.0 | SwitchServices mc-api" in told.splitlines()[-1]


def test_the_same_bounds_give_the_same_states() -> None:
    first, second = (Exploration(QUICK[2], most=600) for _ in range(2))
    first.run()
    second.run()
    assert [world.cluster._replace(status=0) for world in first.worlds] == [
        world.cluster._replace(status=0) for world in second.worlds
    ]


def test_a_disturbance_beyond_its_bound_is_not_made() -> None:
    exploration = Exploration(QUICK[1], most=1500)
    exploration.run()
    spent = [dict(zip(DISTURBANCES, world.spent, strict=True)) for world in exploration.worlds]
    assert max(sum(kinds.values()) for kinds in spent) == QUICK[1].total
    assert {kind for kinds in spent for kind, times in kinds.items() if times} == set(QUICK[1].allowed)


def test_without_disturbances_only_time_can_fail_an_upgrade() -> None:
    result = Exploration(Bounds("calm", "")).run()
    assert result.counterexample is None
    assert set(result.ends) == {"Stable", "Stalled: RolledBack"}
