"""Random walks: few in every run, and a bug that they find is told by its shortest walk."""

from unittest.mock import patch

import pytest
from tests.model.bounds import Bounds
from tests.model.walks import INSTALL, WIDE, Walker, walks

from conductor.domain.phases import verifying


@pytest.mark.parametrize("bounds", [WIDE, INSTALL], ids=lambda bounds: bounds.name)
def test_no_walk_breaks_a_promise_or_never_ends(bounds: Bounds) -> None:
    walker = Walker(bounds)
    walks(walker, 15)()
    assert walker.reached["BringingUp"]


def test_a_bug_is_found_and_its_walk_is_shrunk() -> None:
    walker = Walker(INSTALL)
    with (
        patch.object(verifying, "_unproven", lambda *_: None),
        pytest.raises(
            AssertionError, match="forward though the candidate did not answer our requests"
        ) as broken,
    ):
        walks(walker, 60)()
    steps = str(broken.value).splitlines()
    assert len(steps) < 60
    assert "Verifying" in steps[-1] or "Switching" in steps[-1]
