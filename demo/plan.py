"""The steps of the demo in their order, each with the time that it is expected to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conductor.cli.style import Style, lasting

WARM_LIMIT_SECONDS = 8 * 60
COLD_LIMIT_SECONDS = 35 * 60
TITLE = 34


@dataclass(frozen=True)
class Stage:
    """One step: its key, what a reader calls it, and how long it took elsewhere."""

    key: str
    title: str
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A step with what is expected of it here."""

    number: int
    stage: Stage
    expected: float


STAGES = (
    Stage("cluster", "Cluster: Kubernetes, DNS, Prometheus", 2),
    Stage("images", "Images of everything that runs", 15),
    Stage("operator", "Operator, by its chart", 12),
    Stage("plane", "PostgreSQL and mc 1.0.0", 30),
    Stage("rows", "Rows for the migration to work on", 10),
    Stage("users", "50 keep-alive + 50 one-shot clients", 6),
    Stage("good", "(a) 1.0.0 to 1.1.0: all phases", 65),
    Stage("bad", "(b) 1.2.0-bad: to be refused", 30),
    Stage("slow", "(c) 1.2.1-slow: to be rolled back", 60),
    Stage("count", "Users stop; every id is looked up", 8),
)


def planned(known: dict[str, float], extra: dict[str, float]) -> list[Planned]:
    """`known`: what steps took here last; `extra`: what a step must build or start on top of that."""
    return [
        Planned(number, stage, known.get(stage.key, stage.seconds) + extra.get(stage.key, 0.0))
        for number, stage in enumerate(STAGES, 1)
    ]


def total(steps: Sequence[Planned]) -> float:
    return sum(step.expected for step in steps)


def about(seconds: float) -> str:
    """An estimate, as roughly as it is known."""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s"
    return f"about {round(seconds / 60)} minutes"


def limit_sentence(warm: bool) -> str:
    limit = WARM_LIMIT_SECONDS if warm else COLD_LIMIT_SECONDS
    return f"at most {limit // 60} are promised {'with a warm cache' if warm else 'for a first run'}"


def plan_lines(steps: Sequence[Planned], style: Style) -> list[str]:
    """The list of steps that is shown before the first begins."""
    return [
        f"  {step.number:>2} {style.mark('later')} {step.stage.title:<{TITLE + 4}}"
        f"{style.paint('faint', about(step.expected))}"
        for step in steps
    ]


def stage_line(step: Planned, mark: str, seconds: float, text: str, style: Style) -> str:
    """One step, while it goes on or after it."""
    title = f"{step.stage.title:<{TITLE + 2}}"
    return f"  {step.number:>2} {style.mark(mark)} {title}{lasting(seconds):>8}  {text}".rstrip()
