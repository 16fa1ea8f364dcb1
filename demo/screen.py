"""Pure rendering of an upgrade under load: a release, what users report and the time in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from conductor.cli.render import (
    LABEL,
    field,
    health_lines,
    message_lines,
    phase,
    traffic_lines,
    version_of,
)
from conductor.cli.style import Style, between, clock
from conductor.cli.view import FAILED_OUTCOMES, UPGRADE_PHASES, Release, Step, Upgrade
from harness.load_summary import Progress

COLUMNS = 3
NAME, TIME = 11, 7
GOING_BACK = ("RollingBack", "BackingOut")
BAR = 24
MOST_REASON_LINES = 4
INDENT = "    "


def upgrade_lines(
    release: Release, users: Progress | None, now: datetime, style: Style, *, because: str = ""
) -> list[str]:
    """One upgrade on one screen. What grows and shrinks stands at the end, so that nothing jumps.

    `because`: why it is being taken back; then the last verdict is of no interest any more.
    """
    style = replace(style, width=style.width - len(INDENT))
    lines = ["", *strip_lines(release, now, style), ""]
    lines += traffic_lines(release, style)
    if users is not None:
        lines += user_lines(release, users, style)
    lines += ["", field("Phase", phase(release, now, style)), *message_lines(release, style)]
    moving = release.upgrade
    if because:
        lines += because_lines(because, style)
    elif moving is not None and moving.health is not None:
        lines += health_lines(moving.health, now, style)
    return ["" if not line else f"{INDENT}{line}" for line in lines]


def because_lines(because: str, style: Style) -> list[str]:
    """A reason may hold a URL that is longer than a line, so words are broken here."""
    lines = textwrap.wrap(because, style.width - LABEL - 3, break_on_hyphens=False)[:MOST_REASON_LINES]
    return [
        field("" if index else "Because", f"{' ' if index else style.mark('back')} {line}")
        for index, line in enumerate(lines)
    ]


def strip_lines(release: Release, now: datetime, style: Style) -> list[str]:
    """The phases as a grid: those behind with their time, the one that runs, those to come."""
    moving = release.upgrade
    cells = [_cell("now", "Starting", "", style)] if moving is None else _cells(moving, release, now, style)
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    return [field("Phases" if not index else "", "  ".join(row)) for index, row in enumerate(rows)]


def _cells(moving: Upgrade, release: Release, now: datetime, style: Style) -> list[str]:
    entered = {entry.phase for entry in moving.steps}
    cells = [_step_cell(entry, entry.phase == release.phase, now, style) for entry in moving.steps]
    if release.phase in UPGRADE_PHASES:
        later = UPGRADE_PHASES[UPGRADE_PHASES.index(release.phase) + 1 :]
        cells += [
            _cell("later", name, "", style) for name in later if name not in entered and name != "Ramping"
        ]
    return cells


def _step_cell(entry: Step, running: bool, now: datetime, style: Style) -> str:
    runs = running and entry.ended is None
    mark = "back" if entry.phase in GOING_BACK else "now" if runs else "good"
    return _cell(mark, entry.phase, between(entry.started, entry.ended or (now if runs else None)), style)


def _cell(mark: str, name: str, took: str, style: Style) -> str:
    words = f"{name:<{NAME}}"
    painted = style.paint("strong", words) if mark == "now" else words
    return f"{style.mark(mark)} {style.paint('faint', words) if mark == 'later' else painted}{took:>{TIME}}"


def user_lines(release: Release, users: Progress, style: Style) -> list[str]:
    """What users met: so far, and in the last second by version."""
    failed = f"{users.failures:,} failed"
    so_far = f"{users.requests:,} requests, {style.paint('bad', failed) if users.failures else failed}"
    rate = f"{users.second_requests}/s, p95 {users.second_p95_ms:,.0f} ms"
    lines = [field("Users", f"{so_far}   {style.paint('faint', rate)}")]
    answered = sum(users.second_versions.values())
    if answered:
        lines.append(
            field("Answers", f"{answer_bar(release, users.second_versions, style)}  {shares(users)}")
        )
    return lines


def answer_bar(release: Release, versions: dict[str, int], style: Style) -> str:
    """The last second's answers as one bar, in the fill and colour of the slot that gave them."""
    by_slot = {version_of(release, slot): slot for slot in ("blue", "green")}
    slots = [
        (slot, sum(n for v, n in versions.items() if by_slot.get(v) == slot)) for slot in ("blue", "green")
    ]
    known = sum(count for _, count in slots)
    if not known:
        return style.paint("faint", style.symbol("empty") * BAR)
    first = slots[0][1] * BAR / known
    cells = round(first) if first in (0, BAR) else max(1, min(BAR - 1, round(first)))
    widths = {"blue": cells, "green": BAR - cells}
    return "".join(style.paint(slot, style.symbol(slot) * widths[slot]) for slot, _ in slots)


def shares(users: Progress) -> str:
    """Who answered in the last second: 1.0.0 42 %, 1.1.0 58 %."""
    answered = sum(users.second_versions.values())
    return ", ".join(
        f"{version} {_percent(count, answered)} %" for version, count in sorted(users.second_versions.items())
    )


def _percent(count: int, of: int) -> int:
    """Never 0 or 100 where that would hide the last few."""
    exact = 100 * count / of
    return int(exact) if exact in (0, 100) else max(1, min(99, round(exact)))


def users_line(users: Progress, now: datetime) -> str:
    """The same in one line, for a log."""
    met = f"; {shares(users)}" if users.second_versions else ""
    return (
        f"{clock(now, now)} users: {users.requests:,} requests, {users.failures:,} failed, "
        f"{users.second_requests}/s, p95 {users.second_p95_ms:,.0f} ms{met}"
    )


def failure_words(item: Mapping[str, Any]) -> str:
    """Why the upgrade under way is being taken back, in the operator's words; nothing while it goes forward."""
    failure = ((item.get("status") or {}).get("upgrade") or {}).get("failure") or {}
    return f"{failure.get('reason')}: {failure.get('message')}" if failure else ""


def outcome_words(last: Upgrade) -> str:
    """How an upgrade ended, in the few words that fit beside its step."""
    if last.outcome not in FAILED_OUTCOMES:
        return last.outcome
    return f"{last.outcome} ({last.reason})"


def mark_of(outcomes: Sequence[str], last: Upgrade) -> str:
    """Good is what was meant to happen: a refusal is, where the version is bad."""
    return "good" if last.outcome in outcomes else "bad"
