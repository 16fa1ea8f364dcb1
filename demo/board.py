"""Where the demo writes: finished lines stay, and on a terminal the lines below them are drawn anew in place."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from conductor.cli.options import local_now
from conductor.cli.style import Style, clipped
from demo.plan import Planned, plan_lines, stage_line

REDRAW_SECONDS = 0.5
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Board:
    """The only one who writes. Safe to use from several threads."""

    def __init__(self, out: TextIO, style: Style, *, live: bool) -> None:
        self.out = out
        self.style = style
        self.live = live
        self._lock = threading.RLock()
        self._drawn = 0
        self._picture: Callable[[], list[str]] = list

    def say(self, *lines: str) -> None:
        """Lines that stay."""
        with self._lock:
            self._erase()
            self._write([*lines, *self._shown()])

    def redraw(self) -> None:
        if self.live:
            with self._lock:
                self._erase()
                self._write(self._shown())

    @contextmanager
    def showing(self, picture: Callable[[], list[str]]) -> Iterator[None]:
        """Draw a picture over and over below the lines that stay; nothing of it stays."""
        if not self.live:
            yield
            return
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(REDRAW_SECONDS):
                self.redraw()

        ticker = threading.Thread(target=tick, name="demo-board", daemon=True)
        with self._lock:
            self._picture = picture
            self.out.write(HIDE_CURSOR)
        self.redraw()
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()
            with self._lock:
                self._picture = list
                self._erase()
                self.out.write(SHOW_CURSOR)
                self.out.flush()

    def _shown(self) -> list[str]:
        """The picture, cut to the terminal, so that the way back to its first line is known."""
        lines = self._picture()
        columns, rows = terminal_size(self.out)
        shown = [clipped(line, columns) for line in lines[: max(1, rows - 1)]]
        self._drawn = len(shown)
        return shown

    def _erase(self) -> None:
        if self._drawn:
            self.out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, lines: Sequence[str]) -> None:
        self.out.write("".join(f"{line}\n" for line in lines))
        self.out.flush()


class Step:
    """One step that goes on: what it does now, and what came of it."""

    def __init__(self, board: Board, planned: Planned, later: Sequence[Planned]) -> None:
        self._board = board
        self._started = time.monotonic()
        self._later = later
        self.planned = planned
        self.detail = ""
        self.outcome = ""
        self.mark = "good"
        self.picture: Callable[[], list[str]] = list

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def now(self, text: str) -> None:
        """What is being done; a line of its own where nothing can be redrawn."""
        if text != self.detail:
            self.detail = text
            if text and not self._board.live:
                self.line(text)

    def line(self, text: str) -> None:
        """Something that stays: a part that is done, a change of phase."""
        clock = "" if self._board.live else f"{local_now():%H:%M:%S} "
        self._board.say(f"       {clock}{self._board.style.paint('faint', text)}")

    def lines(self) -> list[str]:
        head = stage_line(self.planned, "now", self.seconds, self.detail, self._board.style)
        picture = self.picture()
        # A gap keeps the steps to come apart from the picture of the one that goes on.
        return [head, *picture, *([""] if picture else []), *plan_lines(self._later, self._board.style)]

    def closing(self, mark: str) -> str:
        return stage_line(self.planned, mark, self.seconds, self.outcome, self._board.style)


@contextmanager
def step(board: Board, planned: Planned, later: Sequence[Planned] = ()) -> Iterator[Step]:
    """Show a step while the block runs, and what came of it afterwards, whichever way it ended."""
    going_on = Step(board, planned, later)
    if not board.live:
        board.say(f"  {planned.number:>2} {board.style.mark('now')} {planned.stage.title}")
    try:
        with board.showing(going_on.lines):
            yield going_on
    except BaseException:
        board.say(going_on.closing("bad"))
        raise
    board.say(going_on.closing(going_on.mark))


def terminal_size(out: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal that is written to; stdout may be another."""
    try:
        size = os.get_terminal_size(out.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size((80, 40))
    return size.columns, size.lines
