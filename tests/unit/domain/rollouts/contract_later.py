"""Contract steps that are left for later: at rest, and what they mean for the next upgrade."""

from tests.unit.domain.rollouts.planes import (
    FAILED,
    NOTHING,
    Tale,
    Told,
    approve,
    data,
    last_id,
    pending,
    shortened,
    small,
)
from tests.unit.domain.story import Story

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase

HEADING = "A contract step left for later"


def contract_left_for_later() -> Told:
    """With contract: Manual the upgrade ends as ContractPending, at rest and Ready; the surge is not kept for it."""
    story = pending()
    story.apply(data("1.1.0", "Manual", soak="20s"))
    return story.wait(5)


def contract_approved_at_rest() -> Told:
    """The contract step is approved long after the upgrade: the way back is closed first, then the Job runs."""
    story = pending()
    story.long_after(minutes=600)
    approve(story, last_id(story), "contract")
    return story.settled()


def contract_fails_at_rest() -> Told:
    """A contract step that fails at rest is Stalled and forward only; an upgrade without migrations is not held up."""
    story = pending()
    upgrade = last_id(story)
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted", "message": "contract is done"}]
    approve(story, upgrade, "contract")
    story.until(Reason.CONTRACT_FAILED).wait(5)
    story.apply(small("1.1.1"))
    shortened(story.until(Phase.BRINGING_UP))
    story.annotate(names.ANNOTATION_RETRY, f"{upgrade}/contract/1")
    return story.settled()


def pending_and_no_migrations() -> Told:
    """A later upgrade without migrations goes in as if nothing were pending, and the step is still pending after it."""
    bare = pending()
    bare.apply(small("1.2.0"))

    image = pending()
    image.machinery.jobs |= {"inspect": [NOTHING], "expand": [NOTHING]}
    image.apply(data("1.2.0", "Manual"))
    return [
        ("no spec.migrations", _through(bare)),
        ("spec.migrations brings nothing for this version: a Job that only looks says so", _through(image)),
    ]


def _through(story: Story) -> Story:
    return shortened(story.until(Phase.BRINGING_UP))


def pending_and_migrations() -> Told:
    """A later upgrade with migrations waits in Preflight until the pending step is approved; it goes first then."""
    story = pending()
    upgrade = last_id(story)
    story.apply(data("1.2.0", "Manual"))
    story.until(Phase.PREFLIGHT).until(Reason.CONTRACT_PENDING).long_after(minutes=60)
    approve(story, upgrade, "contract")
    return story.until(Phase.BRINGING_UP)


def next_upgrade_contracts_first() -> Told:
    """With contract: NextUpgrade the pending step is the first thing of the next upgrade that brings migrations."""
    story = pending("NextUpgrade")
    story.apply(data("1.2.0", "NextUpgrade"))
    return story.until(Phase.BRINGING_UP)


def next_upgrade_contract_fails() -> Told:
    """The pending step fails as the first thing of the next upgrade: that one is refused, nothing of it was begun."""
    story = pending("NextUpgrade")
    story.machinery.jobs["contract"] = [FAILED, {"state": "contracted", "message": "contract is done"}]
    story.apply(data("1.2.0", "NextUpgrade"))
    story.settled()
    story.annotate(names.ANNOTATION_RETRY, last_id(story))
    return story.until(Phase.BRINGING_UP)


def next_upgrade_given_up_in_its_contract() -> Told:
    """The next upgrade is aborted while the pending step runs: that step is committed and comes to its end at rest."""
    story = pending("NextUpgrade")
    story.apply(data("1.2.0", "NextUpgrade"))
    story.until(Phase.EXPANDING).wait(1)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    return story.settled()


TALES: tuple[Tale, ...] = (
    contract_left_for_later,
    contract_approved_at_rest,
    contract_fails_at_rest,
    pending_and_no_migrations,
    pending_and_migrations,
    next_upgrade_contracts_first,
    next_upgrade_contract_fails,
    next_upgrade_given_up_in_its_contract,
)
