"""The table at the end: the three upgrades side by side, and what users saw. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from conductor.cli.style import Style, lasting
from conductor.cli.view import UPGRADE_PHASES
from demo.promises import BAD, GOOD, SLOW, Evidence, after, answers, found_once, milliseconds, span, whole
from harness.load_summary import KEEP_ALIVE, ONE_SHOT, LoadSummary
from harness.releases import Upgrade

LABEL, CELL = 29, 15
NOTHING = "-"
MOST_SAMPLES, SAMPLE_WIDTH = 3, 49
ORDER = (*UPGRADE_PHASES, "RollingBack", "BackingOut")
ASKED = (GOOD, BAD, SLOW)


def report_lines(seen: Evidence, style: Style) -> list[str]:
    """All of it, in 80 columns."""
    return [*user_lines(seen.users, style), "", *upgrade_lines(seen, style), *reason_lines(seen, style)]


def reason_lines(seen: Evidence, style: Style) -> list[str]:
    """Why an upgrade did not succeed, in the operator's words."""
    lines: list[str] = []
    for name, upgrade in (("(a)", seen.good), ("(b)", seen.bad), ("(c)", seen.slow)):
        if upgrade is not None and upgrade.outcome != "Succeeded":
            said = f"{name} {upgrade.outcome}, {upgrade.reason}: {upgrade.message}"
            lines += textwrap.wrap(said, style.width - 2, initial_indent="  ", subsequent_indent="      ")
    return ["", *lines] if lines else []


def user_lines(users: LoadSummary, style: Style) -> list[str]:
    seconds = (users.ended_at - users.started_at).total_seconds()
    posts = 100 * users.creates / users.requests if users.requests else 0.0
    failed = f"{users.failures:,} failed"
    if users.failures:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(users.failures_by_kind.items()))
        failed = style.paint("bad", f"{failed} ({kinds})")
    quantiles = ", ".join(f"p{q} {users.latency.quantile_ms(q / 100):,.0f} ms" for q in (50, 95, 99))
    return [
        f"  {style.paint('strong', 'What users saw')}",
        row("requests", f"{users.requests:,}, {failed}"),
        *sample_lines(users),
        row("load", users.loop),
        row("", "50 keep-alive and 50 one-shot clients"),
        row(
            "",
            f"{users.requests / max(seconds, 1):,.0f}/s for {lasting(seconds)}, {posts:.0f} % of it writes",
        ),
        row("latency, all versions", f"{quantiles}, max {users.latency.max_ms:,.0f} ms"),
        row("longest wait of one client", f"{users.longest_gap_ms:,} ms between two answers"),
        row("acknowledged ids found once", found_once(users)),
    ]


def sample_lines(users: LoadSummary) -> list[str]:
    """The first failures, as the clients met them."""
    lines = []
    for sample in users.failure_samples[:MOST_SAMPLES]:
        met = " ".join(str(sample.get(key) or "") for key in ("version", "client", "method", "kind", "error"))
        lines.append(row("", textwrap.shorten(f"{str(sample.get('at', ''))[11:19]} {met}", SAMPLE_WIDTH)))
    return lines


def row(label: str, value: str) -> str:
    return f"  {label:<{LABEL}}{value}"


def upgrade_lines(seen: Evidence, style: Style) -> list[str]:
    upgrades = (seen.good, seen.bad, seen.slow)

    def line(label: str, value: Callable[[Upgrade], str]) -> str:
        return cells(f"  {label}", [NOTHING if upgrade is None else value(upgrade) for upgrade in upgrades])

    shown = [
        name
        for name in ORDER
        if any(upgrade is not None and phase_seconds(upgrade, name) is not None for upgrade in upgrades)
    ]
    return [
        style.paint("strong", cells("  Upgrades", ("(a)", "(b)", "(c)"))),
        cells("  to", ASKED),
        line("from", lambda upgrade: upgrade.from_version),
        line("outcome", lambda upgrade: upgrade.outcome),
        "",
        *(line(name, partial(phase_told, name)) for name in shown),
        style.paint("strong", line("all of it", lambda upgrade: lasting(whole(upgrade)))),
        "",
        line("switch time", lambda upgrade: told(switch_seconds(upgrade), milliseconds)),
        line(
            "users met it for", lambda upgrade: told(span(upgrade.switched_at, upgrade.decided_at), lasting)
        ),
        line("rollback time", lambda upgrade: told(rollback_seconds(upgrade), milliseconds)),
        line("answers to users", lambda upgrade: f"{answers(seen.users, upgrade.to_version):,}"),
        "  led to the losing one for the last time",
        line("  a new connection", lambda upgrade: told(last_led(upgrade, seen.users), after)),
        "  last answer of the losing one",
        line("  to new connections", lambda upgrade: told(last_answer(upgrade, seen.users, ONE_SHOT), after)),
        line(
            "  to keep-alive clients",
            lambda upgrade: told(last_answer(upgrade, seen.users, KEEP_ALIVE), after),
        ),
        style.paint("faint", "  after the switch in (a), after the decision to roll back in (c)"),
    ]


def cells(label: str, values: Sequence[str]) -> str:
    return f"{label:<{LABEL + 2}}" + "".join(f"{value:>{CELL}}" for value in values)


def told(seconds: float | None, words: Callable[[float], str]) -> str:
    return NOTHING if seconds is None else words(seconds)


def phase_told(name: str, upgrade: Upgrade) -> str:
    return told(phase_seconds(upgrade, name), lasting)


def phase_seconds(upgrade: Upgrade, name: str) -> float | None:
    """The time in a phase, all its entries together; None where it was never entered."""
    found = [entry.seconds or 0.0 for entry in upgrade.timeline if entry.phase == name]
    return sum(found) if found else None


def switch_seconds(upgrade: Upgrade) -> float | None:
    """From the decision to move traffic until the last Service was patched."""
    begun = next((entry.started_at for entry in upgrade.timeline if entry.phase == "Switching"), None)
    return span(begun, upgrade.switched_at)


def rollback_seconds(upgrade: Upgrade) -> float | None:
    """From the decision to go back until the last Service was patched; None where users never left."""
    return span(upgrade.decided_at, upgrade.switched_back_at) if upgrade.switched_at else None


def losing(upgrade: Upgrade) -> tuple[str, datetime | None]:
    """The version that loses its users, and since when: the old one at the switch, the new one at a rollback."""
    if upgrade.outcome == "Succeeded":
        return upgrade.from_version, upgrade.switched_at
    return upgrade.to_version, upgrade.decided_at


def last_led(upgrade: Upgrade, users: LoadSummary) -> float | None:
    """Seconds until the last connection was opened that the losing version answered; None where none was."""
    version, moment = losing(upgrade)
    return span(moment, users.last_begun(version, ONE_SHOT))


def last_answer(upgrade: Upgrade, users: LoadSummary, client: str) -> float | None:
    """Seconds until a client of this kind last heard the losing version; None where it never did."""
    version, moment = losing(upgrade)
    return span(moment, users.last_answer(version, client))
