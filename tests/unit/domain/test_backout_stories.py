"""Taking an expand step back: what is said in every phase, what stays, and how a person has it taken back later."""

import pytest
from tests.unit.domain.rollouts.planes import (
    FAILED,
    NOTHING,
    approve,
    data,
    health,
    last_id,
    pending,
    under_way,
)
from tests.unit.domain.story import BAD, NAMESPACE, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import ContractState, Outcome, Phase

LOSS = FAILED | {
    "message": "1.1.0: 3 rows differ between the two shapes; backout would lose data",
    "mend": "run migrate again to bring them together; or repeat backout with --accept-loss",
    "divergence": 3,
}
DONE = {"state": "backed-out"}
#: Whether users may have been on the candidate when it is taken back.
BEFORE_USERS = (Phase.EXPANDING, Phase.BRINGING_UP, Phase.MIGRATING, Phase.VERIFYING)
WITH_USERS = (Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING)


def backouts(story: Story) -> list[list[str]]:
    """Arguments of every backout Job, in the order of their attempts."""
    found: list[Object] = [
        job for job in story.kube.list("Job", NAMESPACE) if "-backout-" in job["metadata"]["name"]
    ]
    found.sort(key=lambda job: int(job["metadata"]["resourceVersion"]))
    return [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in found]


def kept(**answers: list[object]) -> Story:
    """1.0.0 serves again after users were on 1.1.0; spec asks for 1.0.0."""
    story = installed(data("1.0.0"))
    story.apply(data("1.1.0"))
    story.until(Phase.SOAKING)
    story.apply(data("1.0.0"))
    story.settled()
    story.machinery.jobs |= answers  # type: ignore[arg-type]
    return story


@pytest.mark.parametrize("phase", BEFORE_USERS)
def test_before_users_met_it_the_expand_step_is_taken_back_by_itself(phase: Phase) -> None:
    story = under_way(phase)
    upgrade = story.upgrade.id
    story.annotate(names.ANNOTATION_ABORT, upgrade)
    story.settled()

    assert len(backouts(story)) == 1
    assert story.status.pending_backout is None
    assert story.serving() == {"1.0.0"}
    last = story.status.last_upgrade
    assert last is not None
    assert Reason.EXPANDED_KEPT not in last.message


@pytest.mark.parametrize("phase", WITH_USERS)
def test_once_users_may_have_met_it_what_was_added_stays_and_the_way_is_said(phase: Phase) -> None:
    story = under_way(phase)
    upgrade = story.upgrade.id
    if phase is Phase.RAMPING:
        story.until(lambda: story.upgrade.took_traffic)
    story.annotate(names.ANNOTATION_ABORT, upgrade)
    story.settled()

    assert backouts(story) == []
    last, left = story.status.last_upgrade, story.status.pending_backout
    assert last is not None
    assert left is not None
    assert (left.id, left.to, left.state) == (upgrade, "1.1.0", ContractState.PENDING)
    assert "ExpandedKept: 1.1.0 may have written" in last.message
    assert f"{names.ANNOTATION_APPROVE}={upgrade}/backout" in last.message
    assert story.condition("MigrationsApplied") == ("True", Reason.BACKOUT_PENDING)


def test_what_stays_is_said_at_rest_and_nothing_begins_by_itself() -> None:
    story = kept()
    assert story.condition("Ready") == ("True", Reason.BACKOUT_PENDING)
    assert "both versions work on it" in story.status.message
    assert "an upgrade to 1.1.0 or later takes it up again" in story.status.message
    story.at_rest()
    assert backouts(story) == []


def test_a_person_has_it_taken_back() -> None:
    story = kept(backout=[DONE])
    approve(story, last_id(story), "backout")
    story.until(lambda: bool(backouts(story)))
    left = story.status.pending_backout
    assert left is not None
    assert left.state is ContractState.COMMITTED, "the intent stands before the Job does"
    story.settled()

    [arguments] = backouts(story)
    assert "--accept-loss" not in arguments
    assert story.status.pending_backout is None
    assert story.condition("Ready") == ("True", Reason.STABLE)
    told = [event["reason"] for event in story.kube.list("Event", NAMESPACE)]
    assert Reason.BACKED_OUT in told
    story.at_rest()


def test_rows_that_would_be_lost_are_named_and_a_person_lets_them_go() -> None:
    story = kept(backout=[LOSS, DONE])
    upgrade = last_id(story)
    approve(story, upgrade, "backout")
    story.until(Reason.BACKOUT_FAILED).wait(2)
    assert story.condition("Stalled") == ("True", Reason.BACKOUT_FAILED)
    assert story.condition("MigrationsApplied") == ("True", Reason.BACKOUT_FAILED)
    assert "3 rows say something in the shape of 1.1.0" in story.status.message
    assert f"{names.ANNOTATION_APPROVE}={upgrade}/accept-loss" in story.status.message
    assert f"{names.ANNOTATION_RETRY}={upgrade}/backout/1" in story.status.message
    story.at_rest()

    story.annotate(names.ANNOTATION_APPROVE, f"{upgrade}/backout,{upgrade}/accept-loss")
    story.settled()
    assert ["--accept-loss" in arguments for arguments in backouts(story)] == [False, True]
    assert story.status.pending_backout is None


def test_one_that_failed_is_tried_again_by_a_word_and_not_by_itself() -> None:
    story = kept(backout=[FAILED, DONE])
    upgrade = last_id(story)
    approve(story, upgrade, "backout")
    story.until(Reason.BACKOUT_FAILED).long_after(minutes=30)
    assert len(backouts(story)) == 1

    story.annotate(names.ANNOTATION_RETRY, f"{upgrade}/backout/1")
    story.settled()
    assert story.status.pending_backout is None
    assert len(backouts(story)) == 2


def test_what_may_end_otherwise_is_tried_again_by_itself() -> None:
    story = kept(backout=[FAILED | {"exitCode": 2}, DONE])
    approve(story, last_id(story), "backout")
    story.settled()
    assert len(backouts(story)) == 2
    assert story.status.pending_backout is None


def test_the_upgrade_that_comes_again_takes_up_what_stayed() -> None:
    story = kept()
    approve(story, last_id(story), "backout")
    story.apply(data("1.1.0", soak="11s"))
    story.settled()

    assert backouts(story) == [], "it comes first, and needs what would have been removed"
    assert story.status.pending_backout is None
    assert story.status.active_version == "1.1.0"
    story.at_rest()


def test_an_upgrade_that_does_not_reach_it_leaves_it_standing() -> None:
    story = kept(expand=[NOTHING], backout=[DONE])
    left = story.status.pending_backout
    assert left is not None
    story.apply(data("1.0.1"))
    story.settled()
    assert (story.status.active_version, story.status.pending_backout) == ("1.0.1", left)

    approve(story, left.id, "backout")
    story.until(lambda: bool(backouts(story)))
    story.settled()
    assert story.status.pending_backout is None


def test_it_is_taken_back_while_the_spec_still_asks_for_what_failed() -> None:
    story = installed(data("1.0.0"))
    story.apply(data("1.1.0"))
    story.until(Phase.SOAKING)
    health(story, "1.1.0", BAD, "5 % of what 1.1.0 answers are errors")
    story.settled()
    assert story.condition("Stalled") == ("True", Reason.ROLLED_BACK)
    assert "/backout" in story.status.message
    approve(story, last_id(story), "backout")
    story.settled()

    assert len(backouts(story)) == 1
    assert story.status.pending_backout is None
    assert story.condition("Stalled") == ("True", Reason.ROLLED_BACK)


def test_a_pause_holds_what_was_not_begun() -> None:
    story = kept(backout=[DONE])
    story.change(paused=True)
    approve(story, last_id(story), "backout")
    story.wait(10)
    assert backouts(story) == []
    story.change(paused=False)
    story.settled()
    assert len(backouts(story)) == 1


def test_a_crash_anywhere_in_it_comes_to_the_same_end() -> None:
    story = kept(backout=[DONE])
    approve(story, last_id(story), "backout")
    for _ in range(8):
        story.restart()
        story.turn()
    story.settled()
    assert len(backouts(story)) == 1
    assert story.status.pending_backout is None


def test_in_the_upgrade_itself_rows_that_would_be_lost_are_named_too() -> None:
    story = under_way(Phase.VERIFYING)
    upgrade = story.upgrade.id
    story.machinery.jobs["backout"] = [LOSS, DONE]
    story.annotate(names.ANNOTATION_ABORT, upgrade)
    story.until(Reason.BACKOUT_FAILED).wait(2)
    assert story.serving() == {"1.0.0"}
    for way in ("approve={}/accept-loss", "retry={}/backout/1", "approve={}/keep-expanded"):
        assert f"{names.GROUP}/{way.format(upgrade)}" in story.status.message

    approve(story, upgrade, "accept-loss")
    story.settled()
    assert ["--accept-loss" in arguments for arguments in backouts(story)] == [False, True]
    assert story.status.upgrade is None
    assert story.status.pending_backout is None


def test_what_a_person_let_stay_can_still_be_taken_back_later() -> None:
    story = under_way(Phase.VERIFYING)
    upgrade = story.upgrade.id
    story.machinery.jobs["backout"] = [FAILED, DONE]
    story.annotate(names.ANNOTATION_ABORT, upgrade)
    story.until(Reason.BACKOUT_FAILED)
    approve(story, upgrade, "keep-expanded")
    story.settled()
    left = story.status.pending_backout
    assert left is not None
    assert left.attempt == 2, "the first attempt's Job stands there"

    approve(story, upgrade, "backout")
    story.settled()
    assert len(backouts(story)) == 2
    assert story.status.pending_backout is None


def test_a_contract_step_that_waits_is_not_touched_by_it() -> None:
    """1.1.0's contract was left for later, then 1.2.0 was taken back with users on it."""
    story = pending()
    contract = story.status.pending_contract
    assert contract is not None
    story.machinery.jobs["inspect"] = [NOTHING]
    story.apply(data("1.2.0", "Manual"))
    story.until(Phase.SOAKING)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()

    left = story.status.pending_backout
    assert left is not None
    assert (left.from_, left.to) == ("1.1.0", "1.2.0")
    last = story.status.last_upgrade
    assert last is not None
    assert last.outcome is Outcome.ROLLED_BACK
