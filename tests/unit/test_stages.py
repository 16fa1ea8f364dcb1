"""Stages of `make test`: what cannot be run on a way to a cluster is left out, and said."""

from __future__ import annotations

import pytest
from scripts import stages


@pytest.mark.parametrize("way", ["kind", "existing"])
def test_privileges_are_not_passed_where_they_cannot_be_compared(way: str) -> None:
    kept, notes = stages.applicable(stages.RUNS["test"], lambda: way)
    assert set(stages.RUNS["test"]) - set(kept) == {stages.PRIVILEGES}
    assert notes == [
        f"privileges: not run, the way {way} to a cluster has no audit log; nothing is shown by it"
    ]


def test_privileges_are_compared_after_every_e2e_test() -> None:
    for run in ("test", "test-e2e"):
        kept, notes = stages.applicable(stages.RUNS[run], lambda: "local")
        assert notes == []
        after = kept.index(stages.PRIVILEGES)
        assert all(kept.index(stage) < after for stage in stages.E2E)


def test_what_needs_no_cluster_asks_for_no_way() -> None:
    def asked() -> str:
        raise AssertionError

    assert stages.applicable(stages.RUNS["lint"], asked) == (stages.RUNS["lint"], [])
