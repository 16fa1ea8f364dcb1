"""`python -m demo [run|down]`. Exit code 0: every promise was kept; 1: one was not, or a step failed; 130: stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import FrameType

from cluster.errors import ClusterError
from cluster.interface import Cluster, select
from conductor.cli.style import lasting
from demo import estimate
from demo.board import Board
from demo.down import take_down
from demo.errors import DemoError
from demo.opening import commands_lines, extra_seconds, opening_lines
from demo.options import Options, draws_on, parse_options, style_of
from demo.plan import planned, total
from demo.promises import kept_all, promise_lines, promises
from demo.record import record
from demo.story import Story
from demo.table import report_lines
from harness.kube import ApiError, KubectlError
from harness.operator_install import HelmError
from harness.waiting import WaitError

KEPT, NOT_KEPT, STOPPED = 0, 1, 130


def main() -> int:
    options = parse_options()
    out = sys.stderr if options.as_json else sys.stdout
    board = Board(out, style_of(out), live=draws_on(out))
    # A stopped demo has to take its users with it; the contexts that do so end only by an exception.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    try:
        cluster = select(options.instance or None)
        if options.down:
            take_down(options, cluster, board)
            return KEPT
        return run(options, cluster, board)
    except KeyboardInterrupt:
        board.say("", "  Stopped. The cluster stays; `make demo-down` removes it.")
        return STOPPED
    except (ClusterError, DemoError, KubectlError, HelmError, ApiError, WaitError, OSError) as error:
        board.say(
            "", f"  {board.style.mark('bad')} {error}", "", "  The cluster stays as it is, to be looked at."
        )
        return NOT_KEPT


def stopped(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(options: Options, cluster: Cluster, board: Board) -> int:
    started = time.time() - since_the_command()
    style = board.style
    found = estimate.parts()
    steps = planned(estimate.remembered(), extra_seconds(found, cluster))
    board.say(*opening_lines(options, cluster, found, steps, style, listed=not board.live))
    story = Story(options, board, cluster, {step.stage.key: step for step in steps})
    seen = story.play()
    estimate.remember(story.took)
    kept = promises(seen)
    board.say(
        "",
        *report_lines(seen, style),
        "",
        f"  {style.paint('strong', 'Promises')}",
        *promise_lines(kept, style),
    )
    took = f"All of it took {lasting(time.time() - started)}; {lasting(total(steps))} were announced."
    board.say("", f"  {took}", "", *commands_lines(options, style))
    if options.as_json:
        print(json.dumps(record(seen, kept, story.took), indent=2))
    return KEPT if kept_all(kept) else NOT_KEPT


def since_the_command() -> float:
    """Seconds since `make demo` began: the Python environment may have been made before us."""
    begun = os.environ.get("DEMO_STARTED", "")
    return max(0.0, time.time() - float(begun)) if begun.isdigit() else 0.0


if __name__ == "__main__":
    sys.exit(main())
