"""`make model`: explores every configuration, then looks for every deliberate bug, then walks at random."""

import argparse
import gc
import sys
import time

from tests.model.bounds import CONFIGURATIONS, Bounds
from tests.model.exploration import Exploration, Explored
from tests.model.mutants import MUTANTS, Mutant
from tests.model.walks import walk

#: Fewer would say that a bound became too tight.
LEAST_STATES = 100_000
WALKS = 200


def say(text: str) -> None:
    print(text, flush=True)


def explore(bounds: Bounds) -> Explored:
    """One configuration, its numbers and, where there is one, its counterexample."""
    say(f"\n{bounds.name}: {bounds.about}")
    result = Exploration(bounds, tell=lambda text: say(f"  … {text}")).run()
    gc.collect()
    say(
        f"  {result.states} states, {result.transitions} transitions, {result.decisions} decisions, "
        f"depth {result.depth}, {result.seconds:.1f} s of CPU"
    )
    for end, number in sorted(result.ends.items()):
        say(f"  {number:6} end in {end}")
    if result.counterexample is not None:
        say(f"  BROKEN {result.counterexample}")
    return result


def find(mutant: Mutant, trace: bool) -> bool:
    """Whether the model finds a deliberate bug, by the invariant that it breaks."""
    with mutant.patched():
        result = Exploration(mutant.bounds, api=mutant.api(), effect_first=mutant.effect_first).run()
    gc.collect()
    found = result.counterexample
    place = f"invariant {mutant.breaks}" if mutant.breaks else "liveness"
    if found is None:
        say(f"  NOT FOUND  {mutant.name} ({place}, {result.states} states)")
        return False
    said = f"{len(found.steps)} steps, {result.states} states, {result.seconds:.1f} s: {found.text}"
    if found.number != mutant.breaks:
        say(f"  FOUND BY ANOTHER ({found.number})  {mutant.name} ({place}): {said}")
        return False
    say(f"  found  {mutant.name} ({place}): {said}")
    if trace:
        say(str(found))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="configurations and mutants with this in their name"
    )
    parser.add_argument(
        "--trace", action="store_true", help="print the steps that lead to each deliberate bug"
    )
    asked = parser.parse_args()
    # Nothing in an exploration is garbage before its end, and looking for it takes longer than the rest.
    gc.disable()
    started, used = time.monotonic(), time.process_time()

    explored = [explore(bounds) for bounds in CONFIGURATIONS if asked.only in bounds.name]
    states = sum(result.states for result in explored)
    broken = [result.bounds.name for result in explored if result.counterexample is not None]
    say(f"\n{states} states in {len(explored)} configurations, {len(broken)} broken")

    say("\ndeliberate bugs")
    mutants = [mutant for mutant in MUTANTS if asked.only in mutant.name]
    missed = [mutant.name for mutant in mutants if not find(mutant, asked.trace)]
    say(f"{len(mutants) - len(missed)} of {len(mutants)} found")

    walked = True
    if not asked.only:
        say("\nrandom walks")
        walked = walk(WALKS, say)
    say(f"\n{time.monotonic() - started:.0f} s, {time.process_time() - used:.0f} s of CPU")
    few = not asked.only and states < LEAST_STATES
    if few:
        say(f"fewer than {LEAST_STATES} states: the bounds are too tight")
    return 1 if broken or missed or few or not walked else 0


if __name__ == "__main__":
    sys.exit(main())
