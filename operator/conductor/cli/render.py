"""Pure rendering: a release and the time in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime

from conductor.cli.style import Style, between, clock, lasting
from conductor.cli.view import (
    CONTRACT_WAITS,
    FAILED_OUTCOMES,
    PREVIEWED_PHASES,
    UPGRADE_PHASES,
    WAY_BACK,
    Health,
    Preview,
    PreviewState,
    Progress,
    Release,
    Replica,
    Servers,
    Step,
    Upgrade,
)

LABEL = 10
GOOD_WHEN_FALSE = frozenset({"Stalled", "Reconciling"})
NEUTRAL = frozenset({"RollbackWindowOpen", "Reconciling"})
PREVIEW_MARKS = {
    PreviewState.TO_COME: "later",
    PreviewState.BEING_WRITTEN: "now",
    PreviewState.OFFERED: "good",
    PreviewState.LEFT_OUT: "warn",
    PreviewState.ENDED: "skipped",
}
#: Ways through Gateways that are named; more are counted.
MOST_WAYS = 3
VERDICT_MARKS = {"Healthy": "good", "Unhealthy": "bad", "NoData": "warn", "Error": "warn"}


def release_lines(release: Release, now: datetime, style: Style) -> list[str]:
    """Everything about one release, on one screen."""
    lines = [
        field(
            "Release",
            f"{style.paint('strong', f'{release.namespace}/{release.name}')}{paused(release, style)}",
        ),
        field("Version", version(release, style)),
        field("Phase", phase(release, now, style)),
    ]
    lines += message_lines(release, style)
    if release.progress is not None:
        lines.append(field("Backfill", backfill(release.progress, now)))
    if release.servers is not None:
        lines += wrapped("Ledger", servers(release.servers), style)
    if release.upgrade is not None and release.upgrade.health is not None:
        lines += health_lines(release.upgrade.health, now, style)
    lines += ["", *traffic_lines(release, style)]
    if release.preview is not None:
        lines += preview_lines(release.preview, release, style)
    if release.asked_ways is not None:
        lines += wrapped("Gateways", asked_ways(release.asked_ways), style)
    if release.upgrade is not None:
        lines += ["", field("Upgrade", upgrade_head(release.upgrade, style))]
        lines += timeline_lines(release.upgrade, release.phase, now, style)
    elif release.last is not None:
        lines += ["", *last_lines(release.last, now, style)]
        lines += timeline_lines(release.last, "", now, style)
    if release.conditions:
        lines += ["", field("Conditions", conditions(release, style))]
    lines += stalled_lines(release, style)
    steps = next_steps(release, style)
    if steps:
        lines += ["", *(field("Next" if not index else "", step) for index, step in enumerate(steps))]
    return lines


def list_lines(releases: Sequence[Release], style: Style) -> list[str]:
    """One line for each release."""
    if not releases:
        return ["no releases here; `status -A` looks in all namespaces"]
    rows = [("NAMESPACE", "NAME", "VERSION", "TARGET", "PHASE", "TRAFFIC", "SAYS")]
    rows += [
        (r.namespace, r.name, r.version or "-", r.target, r.phase, shares(r) or "-", r.message or r.reason)
        for r in releases
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = []
    for index, row in enumerate(rows):
        mark = " " if not index else style.mark(release_mark(releases[index - 1]))
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        line = f"{cells}  {row[6]}".rstrip()
        lines.append(f"{mark} {style.paint('strong', line) if not index else line}".rstrip())
    return lines


def change_line(release: Release, now: datetime, style: Style) -> str:
    """One line for a log: what is, at this moment."""
    verdict = release.upgrade.health if release.upgrade is not None else None
    parts = [
        clock(now, now),
        style.mark(release_mark(release)),
        release.phase.ljust(13),
        shares(release),
        release.message or release.reason,
    ]
    if release.progress is not None:
        parts.append(f"[{backfill(release.progress, now)}]")
    if verdict is not None:
        parts.append(f"[{verdict.verdict}]")
    return " ".join(part for part in parts if part)


def backfill(progress: Progress, now: datetime) -> str:
    """How far it has come, and when it ends by its own estimate."""
    share = f" ({100 * progress.rows_done // progress.rows_total} %)" if progress.rows_total else ""
    said = f"{progress.rows_done:,} of about {progress.rows_total:,} rows{share}"
    if progress.rows_per_second is not None:
        said += f", {progress.rows_per_second:,} a second"
    return said + (f", done about {clock(progress.ends_at, now)}" if progress.ends_at is not None else "")


def servers(found: Servers) -> str:
    """Which server keeps the ledger and how the replicas stood to it when the last Job ended."""
    primary = [f"line {found.ledger_line}" if found.ledger_line is not None else "no line"]
    primary += [f"system {found.system_id}"] if found.system_id else []
    primary += [f"timeline {found.timeline}"] if found.timeline is not None else []
    return "; ".join((f"after {found.verb}: {', '.join(primary)}", *map(replica, found.replicas)))


def replica(found: Replica) -> str:
    parts = [f"{found.endpoint} {found.state}"]
    parts += [f"line {found.ledger_line}"] if found.ledger_line is not None else []
    parts += [f"timeline {found.timeline}"] if found.timeline is not None else []
    parts += [f"LSN {found.lsn}"] if found.lsn else []
    return ", ".join(parts)


def shares(release: Release) -> str:
    """Traffic in a few characters: the serving colour, and both shares while they are mixed."""
    mixed = [f"{colour} {share}%" for colour, share in release.shares.items() if 0 < share < 100]
    return " / ".join(mixed) if mixed else release.colour


def release_mark(release: Release) -> str:
    if release.stalled:
        return "bad"
    if release.phase in WAY_BACK:
        return "back"
    if release.under_way:
        return "now"
    ready = release.conditions.get("Ready")
    return "warn" if ready is not None and ready.status != "True" else "good"


def field(label: str, value: str) -> str:
    return f"{label:<{LABEL}} {value}".rstrip()


def wrapped(label: str, value: str, style: Style, mark: str = "") -> list[str]:
    """A field whose text may be longer than a line, with a painted mark that takes the room of one character."""
    text = f"\0 {value}" if mark else value
    lines = textwrap.wrap(
        text, max(40, style.width - LABEL - 1), break_long_words=False, break_on_hyphens=False
    )
    return [field(label if not index else "", line.replace("\0", mark)) for index, line in enumerate(lines)]


def paused(release: Release, style: Style) -> str:
    return f"  {style.paint('warn', '(paused: spec.paused is true)')}" if release.paused else ""


def version(release: Release, style: Style) -> str:
    moving = release.upgrade
    if moving is not None and moving.from_version:
        return f"{moving.from_version} {style.symbol('arrow')} {moving.to_version}"
    if moving is not None:
        return f"{moving.to_version} (first install)"
    if release.version and release.version != release.target:
        return f"{release.version} (spec asks for {release.target})"
    return release.version or release.target


def phase(release: Release, now: datetime, style: Style) -> str:
    mark, words = style.mark(release_mark(release)), style.paint("strong", release.phase)
    words = f"{mark} {words}"
    moving = release.upgrade
    if moving is None:
        return words
    if moving.phase_started is not None:
        words += f"  for {between(moving.phase_started, now)}"
    if moving.deadline is not None:
        left = (moving.deadline - now).total_seconds()
        words += f", until {clock(moving.deadline, now)}"
        words += f" ({lasting(left)} left)" if left >= 0 else f" ({lasting(-left)} past it)"
    return words


def message_lines(release: Release, style: Style) -> list[str]:
    if not release.seen:
        return [field("Waits for", style.paint("warn", "the operator, which has not seen this spec yet"))]
    label = "Waits for" if release.under_way else "Says"
    return wrapped(label, release.message, style) if release.message else []


def health_lines(verdict: Health, now: datetime, style: Style) -> list[str]:
    words = [verdict.verdict]
    if verdict.requests is not None:
        words.append(f"{verdict.requests:,} requests")
    if verdict.errors is not None:
        words.append(f"{verdict.errors:,} errors")
    if verdict.p95_ms is not None:
        words.append(f"p95 {verdict.p95_ms:,.0f} ms")
    line = ", ".join(words)
    if verdict.at is not None:
        line += f" ({between(verdict.at, now)} ago)"
    if verdict.message and verdict.verdict != "Healthy":
        line += f": {verdict.message}"
    return wrapped("Health", line, style, style.mark(VERDICT_MARKS.get(verdict.verdict, "warn")))


def traffic_lines(release: Release, style: Style) -> list[str]:
    lines = []
    for index, (colour, share) in enumerate(release.shares.items()):
        serves = f"  {style.paint('strong', 'serves')}" if colour == release.colour else ""
        bar = (
            f"{colour:<6}{style.bar(colour, share)} {share:>3} %  {version_of(release, colour)}".rstrip()
            + serves
        )
        lines.append(field("Traffic" if not index else "", bar))
    return lines


def preview_lines(found: Preview, release: Release, style: Style) -> list[str]:
    """By what the candidate is asked for, and whether that reaches it now."""
    mark = style.mark(PREVIEW_MARKS[found.state])
    return wrapped("Preview", f"{found.mark}; {preview_said(found, release)}", style, mark)


def preview_said(found: Preview, release: Release) -> str:
    match found.state:
        case PreviewState.TO_COME:
            return "not on the routes " + ("yet" if release.phase in PREVIEWED_PHASES else "before Verifying")
        case PreviewState.BEING_WRITTEN:
            return "being put on the routes"
        case PreviewState.OFFERED:
            return f"on the routes, leads to {found.version}"
        case PreviewState.LEFT_OUT:
            return "left out (PreviewLeftOut)" + (f": {found.why}" if found.why else "")
        case PreviewState.ENDED:
            if release.phase in WAY_BACK:
                return "is taken off the routes with the way back"
            return "taken off the routes with the switch"


def asked_ways(ways: Sequence[str]) -> str:
    """Through which Gateways the new version has to answer after the switch."""
    if not ways:
        return "none is asked, what they say of the routes counts alone"
    more = f", and {len(ways) - MOST_WAYS} more" if len(ways) > MOST_WAYS else ""
    return f"asked after the switch: {', '.join(ways[:MOST_WAYS])}{more}"


def version_of(release: Release, colour: str) -> str:
    moving = release.upgrade
    if moving is not None and colour == moving.to_colour:
        return moving.to_version
    if moving is not None and colour == moving.from_colour:
        return moving.from_version
    return release.version if moving is None and colour == release.colour else ""


def upgrade_head(moving: Upgrade, style: Style) -> str:
    return (
        f"{moving.id}  {style.paint('faint', f'attempt {moving.attempt}')}"
        if moving.attempt > 1
        else moving.id
    )


def last_lines(last: Upgrade, now: datetime, style: Style) -> list[str]:
    mark = "bad" if last.outcome in FAILED_OUTCOMES else "good"
    arrow = f"{last.from_version} {style.symbol('arrow')} " if last.from_version else ""
    head = f"{style.mark(mark)} {style.paint('strong', last.outcome)}  {arrow}{last.to_version}"
    if last.started is not None and last.ended is not None:
        head += f"  in {between(last.started, last.ended)}, {between(last.ended, now)} ago"
    lines = [field("Last", f"{head}  {style.paint('faint', last.id)}")]
    if last.message:
        lines += wrapped("", f"{last.reason}: {last.message}", style)
    if last.decided is not None and last.switched_back is not None:
        lines.append(
            field("", f"traffic was back {between(last.decided, last.switched_back)} after the decision")
        )
    return lines


def timeline_lines(moving: Upgrade, current: str, now: datetime, style: Style) -> list[str]:
    """Phases that were entered, with their time, and those still to come."""
    entered = {step.phase for step in moving.steps}
    lines = [step_line(step, step.phase == current, now, style) for step in moving.steps]
    if current in UPGRADE_PHASES:
        later = UPGRADE_PHASES[UPGRADE_PHASES.index(current) + 1 :]
        lines += [
            field("", f"{style.mark('later')} {style.paint('faint', name)}")
            for name in later
            if name not in entered
        ]
    return lines


def step_line(step: Step, running: bool, now: datetime, style: Style) -> str:
    mark = "now" if running and step.ended is None else "good"
    if step.phase in WAY_BACK:
        mark = "back"
    took = between(step.started, step.ended or (now if running else None))
    since = f"   {clock(step.started, now)}" if step.started is not None else ""
    return field("", f"{style.mark(mark)} {step.phase:<13}{took:>9}{style.paint('faint', since)}")


def condition_mark(name: str, status: str) -> str:
    if status == "Unknown":
        return "warn"
    holds = status == "True"
    if name in NEUTRAL:
        return "now" if holds else "skipped"
    return "good" if holds is not (name in GOOD_WHEN_FALSE) else "bad"


def conditions(release: Release, style: Style) -> str:
    shown = []
    for name, found in release.conditions.items():
        mark = condition_mark(name, found.status)
        # While an upgrade is under way, not being Ready is how it should be.
        if name == "Ready" and mark == "bad" and release.under_way and not release.stalled:
            mark = "now"
        suffix = ": no" if found.status == "False" and name in GOOD_WHEN_FALSE | NEUTRAL else ""
        shown.append(f"{style.mark(mark)} {name}{suffix}")
    return "  ".join(shown)


def stalled_lines(release: Release, style: Style) -> list[str]:
    stalled = release.conditions.get("Stalled")
    if stalled is None or stalled.status != "True" or stalled.message == release.message:
        return []
    return wrapped("Stalled", f"{stalled.reason}: {stalled.message}", style, style.mark("bad"))


def next_steps(release: Release, style: Style) -> list[str]:
    """Commands that make sense now."""

    def command(verb: str, *rest: str) -> str:
        return " ".join((style.program, verb, release.name, "-n", release.namespace, *rest))

    steps = []
    if release.awaits_approval:
        steps.append(f"{command('approve', release.awaits_approval)}   (it waits for you)")
    if release.way_out:
        steps.append(f"{command('approve', release.way_out)}   (where it cannot be mended)")
    if release.upgrade is None and release.reason in CONTRACT_WAITS:
        steps.append(f"{command('approve', 'contract')}   (there is no way back after it)")
    if release.holds("RollbackWindowOpen"):
        steps.append(f"{command('rollback')}   (moves traffic back)")
    elif release.upgrade is not None and release.phase in UPGRADE_PHASES[:5]:
        steps.append(f"{command('abort')}   (users have not met the new version)")
    if release.stalled and release.way_out != "stay":
        steps.append(f"{command('retry')}   (or change the spec)")
    if release.under_way:
        steps.append(f"{command('watch')}   (until it ends)")
    return steps
