"""Whole upgrades as readable logs, and the page that lists them. `UPDATE_GOLDEN=1` writes both anew.

Read the difference then: a log that shows wrong behaviour is a defect of the engine, not a log to keep.
"""

import inspect
import os
from pathlib import Path

import pytest
from tests.unit.domain.rollouts import (
    adoption,
    by_route,
    change_of_mind,
    contract_later,
    going_well,
    hands_and_ends,
    refused,
    rollbacks,
    strictly,
    taken_back,
)
from tests.unit.domain.rollouts.planes import Tale
from tests.unit.domain.story import Story

GOLDEN = Path(__file__).parent / "golden"
GROUPS = (
    going_well,
    by_route,
    strictly,
    adoption,
    refused,
    taken_back,
    rollbacks,
    change_of_mind,
    contract_later,
    hands_and_ends,
)
TALES = tuple(tale for group in GROUPS for tale in group.TALES)
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
PAGE = Path(__file__).resolve().parents[3] / "docs" / "rollouts.md"
INTRODUCTION = """\
# What happens, told as logs

Each log below is a whole upgrade, or the part of one that matters, replayed by the real gatherer, decisions and effects
on a cluster in memory; `tests/unit/domain/test_golden.py` holds them true. They are the documentation of behaviour.

How to read a line:

```text
   0.1s  Switching      blue 2/2 green 0/2    acting    MovingTraffic: pointing all Services at 1.1.0 | SwitchServices
   │     │              │                     │         │                                             └ the one effect
   │     │              │                     │         └ reason and message, as they stand in the status
   │     │              │                     └ what the pass came to: see domain/situation.py
   │     │              └ ready pods by colour: those that users are led to, of all behind Services
   │     └ the phase in which the pass began
   └ time since the story began
```

`>>>` is what came from outside: a person, Prometheus, a pod. A line that only repeats the one before is left out, a
long message is told in full once. `[1.1.0]` stands for that version's hash, `<upgrade 2>` for an upgrade's id.
"""
#: More than this nobody reads at once.
_MOST_LINES = 150


def title(tale: Tale) -> str:
    """The one sentence that says what a story shows."""
    said = inspect.getdoc(tale)
    assert said is not None
    assert "\n" not in said, f"{tale.__name__}: one sentence"
    return said


def written(tale: Tale) -> str:
    """A story as its golden file holds it."""
    told = tale()
    parts = [("", told)] if isinstance(told, Story) else told
    lines = [title(tale)]
    for heading, story in parts:
        lines += ["", *([f"--- {heading}"] if heading else []), *story.log]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("tale", TALES, ids=lambda tale: tale.__name__)
def test_what_happens_is_what_was_written_down(tale: Tale) -> None:
    log = written(tale)
    path = GOLDEN / f"{tale.__name__}.txt"
    if UPDATE:
        path.write_text(log, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == log
    assert log.count("\n") <= _MOST_LINES, "too long to be read: begin the log later, or tell less of it"


def page() -> str:
    """The list of all stories, by what they are about."""
    parts = [INTRODUCTION]
    for group in GROUPS:
        rows = [
            f"| [{tale.__name__.replace('_', ' ')}](../tests/unit/domain/golden/{tale.__name__}.txt) | {title(tale)} |"
            for tale in group.TALES
        ]
        parts.append("\n".join([f"## {group.HEADING}", "", "| log | shows |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def test_every_log_is_listed_with_what_it_shows() -> None:
    if UPDATE:
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with UPDATE_GOLDEN=1"


def test_every_log_is_of_a_story_that_is_still_told() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(tale.__name__ for tale in TALES)
