"""Adoption while somebody else writes: leaders that were deposed, manifests that are forced in."""

from typing import Any

import pytest
from tests.unit.domain.legacy import (
    DEPLOYMENT,
    adopted,
    adopting,
    force_service,
    running,
    untouched,
)
from tests.unit.domain.story import NAME, NAMESPACE

from conductor.adapters.kube import ConflictError
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.domain.determine import determine
from conductor.domain.effects import AdoptObject
from conductor.domain.plan import plan
from conductor.effects.make import make


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_write_in_a_suspended_leaders_hand_fails_once_another_leader_adopted(kind: str) -> None:
    story = running(adopting())
    late: list[Any] = []

    def in_hand() -> bool:
        story.machinery.tick(story.now)
        s = story.observe()
        effect = plan(s, determine(s)).effect
        if isinstance(effect, AdoptObject) and effect.kind == kind:
            late.append(effect)
        return bool(late)

    story.until(in_hand)
    story.epoch += 1
    story.settled()
    with pytest.raises(ConflictError):
        make(story.kube, NAMESPACE, NAME, late[0])
    assert story.serving() == {"1.0.0"}


@pytest.mark.parametrize("forced_first", [True, False], ids=["just before", "meanwhile"])
def test_a_candidate_under_removal_that_a_forced_manifest_led_users_to_is_gone_back_from(
    forced_first: bool,
) -> None:
    """It may have written: users leave it before its pods go, and nothing of its schema goes by itself."""
    story = adopted()
    story.apply(adopting("1.1.0", approval={"beforeSwitch": True}))
    story.until(Reason.AWAITING_APPROVAL)
    if forced_first:
        force_service(story)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.until(lambda: story.status.phase in (Phase.BACKING_OUT, Phase.ROLLING_BACK))
    if not forced_first:
        force_service(story)
    story.machinery.settle()
    story.until(Phase.ROLLING_BACK)
    assert story.upgrade.took_traffic
    story.settled()
    assert story.serving() == {"1.0.0"}


def test_what_a_deposed_leader_adopts_without_consent_is_handed_back() -> None:
    """It had decided so while there was consent; the new leader finds a Service with our marks and no Deployment."""
    story = running(adopting())
    before = [
        story.kube.get("Service", NAMESPACE, "mc-api"),
        story.kube.get("Deployment", NAMESPACE, DEPLOYMENT),
    ]
    held = None
    while held is None:
        s = story.observe()
        decided = plan(s, determine(s))
        if isinstance(decided.effect, AdoptObject) and decided.effect.kind == "Service":
            held = decided.effect
        else:
            story.turn()
    wanted = adopting()
    del wanted["adopt"]
    story.apply(wanted)
    story.settled()
    make(story.kube, NAMESPACE, NAME, held)
    story.settled()
    after = [
        story.kube.get("Service", NAMESPACE, "mc-api"),
        story.kube.get("Deployment", NAMESPACE, DEPLOYMENT),
    ]
    assert [item and item["spec"] for item in after] == [item and item["spec"] for item in before]
    assert untouched(story)
