"""`make model`: explores every configuration, then looks for every deliberate bug, then walks at random."""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.model.bounds import CONFIGURATIONS, Bounds
from tests.model.exploration import Exploration, Explored
from tests.model.mutant import Mutant
from tests.model.mutants import MUTANTS
from tests.model.walks import walk

#: Fewer would say that a bound became too tight.
LEAST_STATES = 100_000
LIVENESS_LAST = 99
WALKS = 200
DOCS = Path(__file__).resolve().parents[2] / "docs" / "model.md"
BEGIN, END = "<!-- made by `make model`: begin -->", "<!-- made by `make model`: end -->"


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


def find(mutant: Mutant, trace: bool) -> Explored | None:
    """The exploration that found a deliberate bug by the promise that it breaks."""
    with mutant.patched():
        result = Exploration(mutant.bounds, api=mutant.api(), effect_first=mutant.effect_first).run()
    gc.collect()
    found = result.counterexample
    place = promise(mutant)
    if found is None:
        say(f"  NOT FOUND  {mutant.name} ({place}, {result.states} states)")
        return None
    said = f"{len(found.steps)} steps, {result.states} states, {result.seconds:.1f} s: {found.text}"
    if found.number != mutant.breaks:
        say(f"  FOUND BY ANOTHER ({found.number})  {mutant.name} ({place}): {said}")
        return None
    say(f"  found  {mutant.name} ({place}): {said}")
    if trace:
        say(str(found))
    return result


def promise(mutant: Mutant) -> str:
    return f"invariant {mutant.breaks}" if mutant.breaks else "liveness"


def tables(explored: list[Explored], found: list[tuple[Mutant, Explored]], seconds: float) -> Iterator[str]:
    """What the run saw, as the tables of docs/model.md."""
    states = sum(result.states for result in explored)
    yield f"{states:,} states in {len(explored)} configurations, {len(found)} deliberate bugs found, {WALKS} random"
    yield f"walks; {seconds:.0f} s of CPU on one core."
    yield "\n| configuration | what may happen | states | transitions | depth | CPU |\n|---|---|---:|---:|---:|---:|"
    for result in explored:
        yield (
            f"| {result.bounds.name} | {result.bounds.about} | {result.states:,} | {result.transitions:,} "
            f"| {result.depth} | {result.seconds:.0f} s |"
        )
    yield "\n| deliberate bug | breaks | steps | states until found |\n|---|---|---:|---:|"
    for mutant, result in sorted(found, key=lambda pair: pair[0].breaks or LIVENESS_LAST):
        assert result.counterexample is not None
        steps = len(result.counterexample.steps)
        yield f"| {mutant.name} | {promise(mutant)} | {steps} | {result.states:,} |"


def write_docs(lines: Iterator[str]) -> None:
    """Puts the tables between the two marks of docs/model.md."""
    text = DOCS.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text("\n".join([head + BEGIN, "", *lines, "", END]) + tail)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="configurations and mutants with this in their name"
    )
    parser.add_argument(
        "--trace", action="store_true", help="print the steps that lead to each deliberate bug"
    )
    parser.add_argument("--docs", action="store_true", help="write what a whole run saw to docs/model.md")
    asked = parser.parse_args()
    if asked.docs and asked.only:
        parser.error("--docs: tells of a whole run; leave --only away")
    # Nothing in an exploration is garbage before its end, and looking for it takes longer than the rest.
    gc.disable()
    started, used = time.monotonic(), time.process_time()

    explored = [explore(bounds) for bounds in CONFIGURATIONS if asked.only in bounds.name]
    states = sum(result.states for result in explored)
    broken = [result.bounds.name for result in explored if result.counterexample is not None]
    say(f"\n{states} states in {len(explored)} configurations, {len(broken)} broken")

    say("\ndeliberate bugs")
    mutants = [mutant for mutant in MUTANTS if asked.only in mutant.name]
    tried = [(mutant, find(mutant, asked.trace)) for mutant in mutants]
    found = [(mutant, result) for mutant, result in tried if result is not None]
    missed = len(mutants) - len(found)
    say(f"{len(found)} of {len(mutants)} found")

    walked = True
    if not asked.only:
        say("\nrandom walks")
        walked = walk(WALKS, say)
    say(f"\n{time.monotonic() - started:.0f} s, {time.process_time() - used:.0f} s of CPU")
    few = not asked.only and states < LEAST_STATES
    if few:
        say(f"fewer than {LEAST_STATES} states: the bounds are too tight")
    failed = bool(broken or missed or few or not walked)
    if asked.docs and not failed:
        write_docs(tables(explored, found, time.process_time() - used))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
