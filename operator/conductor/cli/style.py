"""How output looks: colours that people with any colour vision can tell apart, and never colour alone."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

# From the Okabe-Ito palette, whose colours stay distinct under every common colour blindness.
COLOURS = {
    "blue": "38;5;32",
    "green": "38;5;36",
    "good": "38;5;36",
    "bad": "1;38;5;208",
    "warn": "38;5;220",
    "strong": "1",
    "faint": "2",
}
SYMBOLS = {
    "good": ("✓", "+"),
    "bad": ("✗", "x"),
    "warn": ("!", "!"),
    "now": ("●", "*"),
    "later": ("○", "."),
    "skipped": ("–", "-"),
    "back": ("↩", "<"),
    "arrow": ("→", "->"),
    # The two slots differ by fill as well as by colour.
    "blue": ("█", "#"),
    "green": ("▓", "="),
    "empty": ("░", "."),
}


@dataclass(frozen=True)
class Style:
    colour: bool = False
    unicode: bool = True
    program: str = "conductor"
    width: int = 110

    def paint(self, kind: str, text: str) -> str:
        if not self.colour or not text:
            return text
        return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m"

    def symbol(self, kind: str) -> str:
        return SYMBOLS[kind][0 if self.unicode else 1]

    def mark(self, kind: str) -> str:
        """A symbol in its colour."""
        painted = {"now": "strong", "later": "faint", "skipped": "faint", "back": "warn"}.get(kind, kind)
        return self.paint(painted, self.symbol(kind))

    def bar(self, colour: str, percent: int, width: int = 24) -> str:
        filled = max(0, min(width, round(width * percent / 100)))
        if 0 < percent < 100:
            filled = max(1, min(width - 1, filled))
        return self.paint(colour, self.symbol(colour) * filled) + self.paint(
            "faint", self.symbol("empty") * (width - filled)
        )


def style_for(stream: TextIO, program: str) -> Style:
    """Colour on a terminal only, and never against NO_COLOR."""
    terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return Style(
        colour=terminal and not os.environ.get("NO_COLOR"),
        unicode=encoding.replace("-", "") == "utf8",
        program=program,
        width=min(140, shutil.get_terminal_size((110, 40)).columns) if terminal else 110,
    )


def clipped(line: str, width: int) -> str:
    """The line cut to a width as seen; colour codes take no room and are closed again."""
    room, kept = width, []
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            kept.append(part)
            continue
        kept.append(part[:room])
        room -= len(kept[-1])
    return "".join(kept)


def lasting(seconds: float) -> str:
    """A length of time as a person says it: 0.4 s, 12 s, 3m 05s, 2h 10m, 3d 4h."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    return f"{hours // 24}d {hours % 24}h"


def between(start: datetime | None, end: datetime | None) -> str:
    return "" if start is None or end is None else lasting((end - start).total_seconds())


def clock(moment: datetime, now: datetime) -> str:
    """The time of day in the reader's own zone; with the date when it is not today."""
    local, today = moment.astimezone(now.tzinfo), now.date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")
