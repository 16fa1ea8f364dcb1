"""One upgrade, asked for by helm and followed live to its end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conductor.cli.options import local_now
from conductor.cli.render import change_line
from conductor.cli.style import Style, clock
from conductor.cli.view import Release as View
from conductor.cli.view import read_release
from demo.board import Board, Step
from demo.errors import DemoError
from demo.screen import failure_words, mark_of, outcome_words, upgrade_lines, users_line
from harness.kube import ApiError
from harness.load_summary import Progress
from harness.releases import Release, Upgrade, parse_upgrade

LOOK_SECONDS = 0.4
USERS_EVERY_SECONDS = 10.0
DEADLINE_SECONDS = 300.0
_DIGITS = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class Asked:
    """A version, and how the upgrade to it is meant to end."""

    version: str
    outcome: str


def follow(
    board: Board,
    step: Step,
    release: Release,
    asked: Asked,
    *,
    begin: Callable[[], None],
    users: Callable[[], Progress | None],
) -> Upgrade:
    """Ask for the version and show what becomes of it until nothing is under way any more."""
    before = last_id(release.status())
    picture = Picture(board, step, users)
    step.now("asking for it: helm upgrade --set version=" + asked.version)
    begin()
    step.now("")
    ends_at = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while time.monotonic() < ends_at:
        item = look(release)
        if item is not None:
            picture.show(item)
            if has_ended(item, asked.version, before):
                last = read_release(item).last
                assert last is not None
                step.mark, step.outcome = mark_of((asked.outcome,), last), outcome_words(last)
                return parse_upgrade(item["status"]["lastUpgrade"])
        pause.wait(LOOK_SECONDS)
    raise DemoError(
        f"the upgrade to {asked.version} had no end after {DEADLINE_SECONDS:.0f} s; it says: {picture.said}; "
        f"look at it with `conductor status {release.name} -n {release.namespace}`"
    )


def look(release: Release) -> dict[str, Any] | None:
    """The release; None while the API server does not answer, which the deadline bounds."""
    try:
        return release.read()
    except (ApiError, OSError):
        return None


def last_id(status: dict[str, Any]) -> str:
    return str((status.get("lastUpgrade") or {}).get("id", ""))


def has_ended(item: dict[str, Any], version: str, before: str) -> bool:
    """True when an upgrade to this version, other than the one before, has ended and all is at rest."""
    status = item.get("status") or {}
    last = status.get("lastUpgrade") or {}
    ended = last.get("to") == version and last.get("id") != before
    return ended and not status.get("upgrade") and status.get("phase") == "Stable"


class Picture:
    """What is shown of an upgrade: a screen that is drawn anew, or a line for each change."""

    def __init__(self, board: Board, step: Step, users: Callable[[], Progress | None]) -> None:
        self._board = board
        self._users = users
        self._style: Style = board.style
        self._view: View | None = None
        self._because = ""
        self._told = ""
        self._key: object = None
        self._users_at: datetime | None = None
        step.picture = self._lines

    @property
    def said(self) -> str:
        return "nothing" if self._view is None else f"{self._view.phase}: {self._view.message}"

    def show(self, item: dict[str, Any]) -> None:
        self._view = view = read_release(item)
        self._because = failure_words(item)
        if not self._board.live:
            self._tell(view)

    def _lines(self) -> list[str]:
        if self._view is None:
            return []
        return upgrade_lines(self._view, self._users(), local_now(), self._style, because=self._because)

    def _tell(self, view: View) -> None:
        now, users = local_now(), self._users()
        # A count that goes up is no news; with the users' line it is told all the same.
        key = (view.phase, view.reason, _DIGITS.sub("#", view.message), tuple(view.shares.items()))
        if key != self._key:
            self._key = key
            self._board.say(f"       {change_line(view, now, self._style)}")
        if self._because and self._because != self._told:
            self._told = self._because
            self._board.say(f"       {clock(now, now)} {self._style.mark('back')} because {self._because}")
        since = None if self._users_at is None else (now - self._users_at).total_seconds()
        if users is not None and (since is None or since >= USERS_EVERY_SECONDS):
            self._users_at = now
            self._board.say(f"       {users_line(users, now)}")
