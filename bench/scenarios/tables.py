"""Tables of what came out, as text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.load_summary import KEEP_ALIVE, ONE_SHOT
from scenarios.upgrades import Measured


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right; a rule under the first row."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if not index else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{max(0.0, value):.2f} s"


def comparison(measured: Sequence[Measured]) -> list[str]:
    """One column for each upgrade."""
    rows: list[list[str]] = [["", *(item.name for item in measured)]]

    def row(label: str, *cells: str) -> None:
        rows.append([label, *cells])

    row("from, to", *(f"{item.upgrade.from_version} > {item.asked_for}" for item in measured))
    row("outcome", *(f"{item.upgrade.outcome} ({item.upgrade.reason})" for item in measured))
    row("requests", *(f"{item.load.requests:,}" for item in measured))
    row("failed", *(f"{item.load.failures:,}" for item in measured))
    row("POSTs acknowledged", *(f"{item.load.writes.acknowledged:,}" for item in measured))
    row(
        "of these missing, twice",
        *(f"{item.load.writes.missing}, {item.load.writes.duplicates}" for item in measured),
    )
    row(
        "answers users had of the new version",
        *(f"{item.users_met(item.upgrade.to_version):,}" for item in measured),
    )
    row("p95", *(f"{item.load.latency.quantile_ms(0.95):,.0f} ms" for item in measured))
    phases = list(dict.fromkeys(phase.phase for item in measured for phase in item.upgrade.timeline))
    for phase in phases:
        row(f"  {phase}", *(seconds(phase_seconds(item, phase)) for item in measured))
    row("switch", *(seconds(item.switch_seconds) for item in measured))
    row("rollback", *(seconds(item.rollback_seconds) for item in measured))
    row(
        "last answer of the losing colour, new clients",
        *(seconds(item.last_answer_seconds(ONE_SHOT)) for item in measured),
    )
    row(
        "  the same, keep-alive clients",
        *(seconds(item.last_answer_seconds(KEEP_ALIVE)) for item in measured),
    )
    return columns(rows)


def phase_seconds(item: Measured, name: str) -> float | None:
    found = [
        phase.seconds for phase in item.upgrade.timeline if phase.phase == name and phase.seconds is not None
    ]
    return sum(found) if found else None
