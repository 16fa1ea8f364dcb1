"""Stages of `make test`: what cannot be run on a way to a cluster is left out, and said."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import stages


@pytest.mark.parametrize("way", ["kind", "existing"])
def test_privileges_are_not_passed_where_they_cannot_be_compared(way: str) -> None:
    kept, notes = stages.applicable(stages.RUNS["test"], lambda: way)
    assert stages.PRIVILEGES not in kept
    assert notes == [
        f"privileges: not run, the way {way} to a cluster has no audit log; nothing is shown by it"
    ]


def test_privileges_are_compared_after_every_e2e_test() -> None:
    for run in ("test", "test-e2e"):
        kept, notes = stages.applicable(stages.RUNS[run], lambda: "local")
        assert notes == []
        after = kept.index(stages.PRIVILEGES)
        assert all(kept.index(stage) < after for stage in stages.E2E_TWO_CLUSTERS)


@pytest.mark.parametrize("way", ["kind", "existing"])
def test_one_cluster_runs_what_two_share(way: str) -> None:
    kept, _ = stages.applicable(stages.RUNS["test"], lambda: way)
    assert [stage for stage in kept if "tests/e2e" in stage.command] == list(stages.E2E_ONE_CLUSTER)
    assert not any(stage.second or any(beside.second for beside in stage.beside) for stage in kept)
    assert kept[-1] is stages.CLUSTER_DOWN


def test_what_runs_beside_a_stage_counts_and_is_told_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    beside = stages.Stage("other", ("sh", "-c", "echo $MC_CLUSTER_INSTANCE; exit 3"), second=True)
    ended = stages.Runner().run_all((stages.Stage("one", ("echo", "first"), beside=(beside,)),), keep=False)
    assert [(result.stage.name, result.exit_code) for result in ended] == [("one", 0), ("other", 3)]
    said = capsys.readouterr().out
    assert said.split("\n")[1:] == ["--- one", "first", "", "--- other", stages.SECOND_INSTANCE, ""]


def test_what_goes_on_meanwhile_holds_nothing_up_and_is_told_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits for what only the next stage does."""
    mark = tmp_path / "mark"
    waits = stages.Stage("waits", ("sh", "-c", f"until [ -e {mark} ]; do :; done; exit 3"))
    run = (stages.Stage("one", ("true",), meanwhile=(waits,)), stages.Stage("two", ("touch", str(mark))))
    ended = stages.Runner().run_all(run, keep=False)
    assert [(result.stage.name, result.exit_code) for result in ended] == [
        ("one", 0),
        ("two", 0),
        ("waits", 3),
    ]
    assert capsys.readouterr().out.split() == ["---", "one", "---", "two", "---", "waits"]


def test_a_set_up_that_fails_beside_a_stage_ends_the_run() -> None:
    fails = stages.Stage("set up", ("false",), sets_up=True)
    after = stages.Stage("after", ("true",))
    clean = stages.Stage("clean", ("true",), cleans_up=True)
    checks = tuple(stages.Stage(f"check {number}", ("true",)) for number in (1, 2))
    one = stages.Stage("one", ("true",), beside=(fails, after), meanwhile=checks)
    ended = stages.Runner().run_all((one, stages.Stage("two", ("true",)), clean), keep=False)
    assert [result.stage.name for result in ended] == ["one", "set up", "clean", "check 1", "check 2"]


def test_everything_that_is_checked_alone_is_checked_in_a_whole_run() -> None:
    whole = [part.name for stage in stages.RUNS["test"] for part in stage.parts()]
    for run in ("lint", "test-unit", "test-e2e"):
        assert {part.name for stage in stages.RUNS[run] for part in stage.parts()} <= set(whole)
    assert len(whole) == len(set(whole))


def test_what_needs_no_cluster_asks_for_no_way() -> None:
    def asked() -> str:
        raise AssertionError

    assert stages.applicable(stages.RUNS["lint"], asked) == (stages.RUNS["lint"], [])
