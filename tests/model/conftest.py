"""Makes the project's root importable, and lets the model play beside the stories: it needs the processor alone."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = str(HERE.parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)
#: Seconds of CPU become minutes on a machine that is busy with something more urgent.
PATIENCE_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.story)
            item.add_marker(pytest.mark.timeout(PATIENCE_SECONDS))
