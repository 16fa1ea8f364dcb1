"""Makes the project's root importable, so that tests share their builders as `tests.unit.…`, and marks stories."""

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

STORIES = "tests.unit.domain.story"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole upgrades on a cluster in memory take their time; a module that plays them says so by its imports."""
    for item in items:
        module = getattr(item, "module", None)
        if any(getattr(value, "__module__", "") == STORIES for value in vars(module).values()):
            item.add_marker(pytest.mark.story)
