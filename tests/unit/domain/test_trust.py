"""What may be concluded from a glance: that there is nothing to do, and nothing that calls a person."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import installed

from conductor.api.reasons import Reason
from conductor.api.status import OpenIntent, Outcome, Phase, ReceiptsStatus
from conductor.domain.effects import ClaimObjects, DeletePods
from conductor.domain.situation import (
    Acting,
    Advancing,
    Ending,
    Failing,
    Refusing,
    Rejecting,
    Situation,
    Starting,
    Waiting,
)
from conductor.domain.snapshot import Snapshot
from conductor.domain.trust import may_stand


@pytest.fixture(scope="module")
def moving() -> Snapshot:
    """A release in mid-upgrade whose leader has claimed everything, and that has no intent open."""
    story = installed(spec())
    story.apply(spec("1.1.0", soak="60s"))
    story.until(Phase.SOAKING).wait(20)
    s = story.observe()
    assert s.status.upgrade is not None
    return s


def told(s: Snapshot, **changes: Any) -> Snapshot:
    return replace(s, status=s.status.model_copy(update=changes))


def test_waiting_may_stand(moving: Snapshot) -> None:
    assert may_stand(moving, Waiting(Reason.SOAKING, "in other words"))


@pytest.mark.parametrize(
    "situation",
    [
        Acting(DeletePods((("a", "1"),)), Reason.SHEDDING, ""),
        Acting(ClaimObjects((), 2), Reason.CLAIMING_EPOCH, ""),
        Advancing(Phase.CLOSING, Reason.SOAKING, ""),
        Starting("abc", "1.1.0", Phase.PREFLIGHT, ""),
        Failing(Reason.UNHEALTHY, ""),
        Ending(Outcome.SUCCEEDED, Reason.SUCCEEDED, ""),
        Refusing("abort=x", Reason.COMMAND_REFUSED, ""),
    ],
)
def test_nothing_else_may(moving: Snapshot, situation: Situation) -> None:
    assert not may_stand(moving, situation)


@pytest.mark.parametrize(
    "situation",
    [
        Waiting(Reason.UNKNOWN_REVISION, "its record is gone", stalled=True),
        Rejecting(Reason.INVALID_SPEC, "spec.version: is required"),
    ],
)
def test_what_calls_a_person_may_stand_only_where_it_was_said_already(
    moving: Snapshot, situation: Waiting | Rejecting
) -> None:
    assert not may_stand(moving, situation)
    assert not may_stand(told(moving, reason=situation.reason, message="something else"), situation)
    assert may_stand(told(moving, reason=situation.reason, message=situation.message), situation)


def test_under_another_epoch_everything_is_read_first(moving: Snapshot) -> None:
    waiting = Waiting(Reason.SOAKING, "")
    later = replace(moving, epoch=moving.epoch + 1)
    assert not may_stand(later, waiting)
    assert may_stand(told(later, upgrade=None), waiting), "at rest nothing is claimed"


def test_while_an_effect_has_no_outcome_everything_is_read(moving: Snapshot) -> None:
    receipts = ReceiptsStatus(open=OpenIntent(sequence=3, effect="DeletePods"))
    assert not may_stand(told(moving, receipts=receipts), Waiting(Reason.SOAKING, ""))


def test_that_nothing_is_sized_any_more_is_said_on_a_fresh_read_alone(moving: Snapshot) -> None:
    assert not may_stand(told(moving, upgrade=None), Waiting(Reason.STABLE, "", changes={"sized": False}))
