"""`watch`: shows a release live until it has come to rest."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from conductor.adapters.release_access import UnreachableError
from conductor.cli.options import (
    NOT_UPGRADED,
    OK,
    TIMED_OUT,
    CommandError,
    Releases,
    Terminal,
    add_common,
    local_now,
)
from conductor.cli.render import change_line, release_lines
from conductor.cli.style import clipped, lasting
from conductor.cli.view import FAILED_OUTCOMES, Release, read_release

HELP = "show a release live until it has come to rest"
DESCRIPTION = (
    "Shows what the release waits for, since when and until when, and ends when it has come to rest. "
    f"Exit code {OK}: the version of the spec serves; {NOT_UPGRADED}: it was refused, aborted or rolled back; "
    f"{TIMED_OUT}: --timeout passed. On a terminal the picture is redrawn, elsewhere each change is a line."
)
INTERVAL = 1.0
#: How long a command that was just given may go unseen before what is there counts as the answer.
NOTICE = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("name", metavar="RELEASE", help="name of the ControlPlaneRelease")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="give up after so long (default: never)"
    )


def run(arguments: argparse.Namespace, releases: Releases, out: Terminal) -> int:
    release = follow(releases, arguments.name, out, as_json=arguments.json, timeout=arguments.timeout)
    return TIMED_OUT if release is None else exit_code(release)


def exit_code(release: Release) -> int:
    failed_last = release.last is not None and release.last.outcome in FAILED_OUTCOMES
    behind = release.version != release.target
    return NOT_UPGRADED if release.stalled or (failed_last and behind) else OK


@dataclass
class Display:
    """Draws on a terminal, writes lines elsewhere, and JSON when asked."""

    out: Terminal
    as_json: bool
    drawn: int = 0
    said: object = None
    lost_since: datetime | None = None
    said_lost: bool = field(default=False)

    def show(self, item: dict[str, Any], now: datetime) -> None:
        release = read_release(item)
        self.lost_since, self.said_lost = None, False
        if self.as_json:
            self._once(
                item.get("status"), lambda: self.out.write_json(item.get("status") or {}, compact=True)
            )
        elif self.out.live:
            self._draw(release_lines(release, now, self.out.style))
        else:
            self._once(
                (release.phase, release.reason, release.message, release.shares, release.progress),
                lambda: self.out.write([change_line(release, now, self.out.style)]),
            )

    def lost(self, error: UnreachableError, now: datetime) -> None:
        self.lost_since = self.lost_since or now
        sentence = f"{error}; trying again for {lasting((now - self.lost_since).total_seconds())}"
        if self.out.live and not self.as_json:
            self._draw([self.out.style.paint("warn", sentence)])
        elif not self.said_lost and not self.as_json:
            self.out.write([sentence])
        self.said_lost = True

    def end(self, item: dict[str, Any], now: datetime) -> None:
        if not self.out.live and not self.as_json:
            self.out.write(["", *release_lines(read_release(item), now, self.out.style)])

    def _once(self, what: object, say: Callable[[], None]) -> None:
        if what != self.said:
            self.said = what
            say()

    def _draw(self, lines: list[str]) -> None:
        columns, rows = shutil.get_terminal_size((110, 40))
        shown = [clipped(line, columns) for line in lines[: max(1, rows - 1)]]
        back = f"\x1b[{self.drawn}F" if self.drawn else ""
        self.out.out.write(back + "\x1b[J")
        self.out.write(shown)
        self.drawn = len(shown)


def follow(
    releases: Releases,
    name: str,
    out: Terminal,
    *,
    as_json: bool = False,
    timeout: float | None = None,
    commanded: Release | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Release | None:
    """Shows the release until it is at rest and returns it then; None when the time is over.

    `commanded`: the release as it was when a command was given to it; rest counts once something has moved.
    """
    display = Display(out, as_json)
    started = time.monotonic()
    moved = commanded is None
    while True:
        elapsed = time.monotonic() - started
        if timeout is not None and elapsed > timeout:
            return None
        try:
            item = releases.get(name)
        except UnreachableError as error:
            display.lost(error, local_now())
            pause(INTERVAL)
            continue
        release = read_release(item)
        display.show(item, local_now())
        moved = moved or has_moved(commanded, release) or elapsed > NOTICE
        if release.at_rest and moved:
            display.end(item, local_now())
            return release
        if (item.get("metadata") or {}).get("deletionTimestamp"):
            raise CommandError(f"{release.namespace}/{name} is being deleted; what serves stays as it is")
        pause(INTERVAL)


def has_moved(before: Release | None, release: Release) -> bool:
    if before is None or release.under_way or before.under_way:
        return True
    return (before.last.id if before.last else "") != (release.last.id if release.last else "")
