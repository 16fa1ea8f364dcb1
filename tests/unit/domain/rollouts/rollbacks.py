"""Rollbacks that a person asks for: in each phase, to a kept revision, and where they cannot be followed."""

from tests.unit.domain.rollouts.planes import (
    EVERY_PHASE,
    NOTHING,
    Tale,
    Told,
    approve,
    data,
    last_id,
    pending,
    shortened,
    small,
    under_way,
)
from tests.unit.domain.story import NAMESPACE, Story, installed

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.status import Phase

HEADING = "Rollbacks by command"


def rollback_commanded() -> Told:
    """A rollback by annotation, in each phase: once users met the new version, traffic goes back before all else."""
    return [(f"in {phase}", _commanded(phase)) for phase in EVERY_PHASE]


def _commanded(phase: Phase) -> Story:
    story = under_way(phase)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    return story.settled()


def rollback_by_script() -> Told:
    """scripts/rollback.sh moved the Services back while the operator was away: it accepts that and does the rest."""
    story = under_way(Phase.SOAKING)
    story.note("the operator is away; scripts/rollback.sh points mc-api at 1.0.0")
    selector = {
        names.LABEL_RELEASE: "mc",
        names.LABEL_COMPONENT: "api",
        names.LABEL_REVISION: story.upgrade.from_revision,
    }
    change: Object = {"spec": {"selector": selector}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)
    story.annotate(names.ANNOTATION_ROLLED_BACK_BY, f"script/{story.upgrade.id}")
    story.epoch += 1
    return story.settled()


def rollback_to_a_kept_revision() -> Told:
    """spec.rollbackTo inside of the window moves traffic only; to an older revision it is an upgrade of its own."""
    window = under_way(Phase.SOAKING)
    window.change(rollbackTo=window.upgrade.from_revision)

    older = installed(small("1.0.0"))
    first = older.status.active_revision
    for version in ("1.1.0", "1.2.0"):
        older.apply(small(version))
        older.settled()
    older.begin("1.0.0, then 1.1.0, then 1.2.0 were installed")
    older.change(rollbackTo=first)
    older.settled()
    older.change(rollbackTo="")
    older.until(Phase.BRINGING_UP)
    return [("inside of the window", window.settled()), ("to an older revision, and forward again", older)]


def rollback_to_refused() -> Told:
    """spec.rollbackTo is refused where the revision is not kept, and where a contract step has cut the version off."""
    unknown = installed(small("1.0.0"))
    unknown.change(rollbackTo="0123456789")

    floor = installed(data("1.0.0"))
    first = floor.status.active_revision
    floor.apply(data("1.1.0"))
    floor.settled().begin("1.1.0 was installed, with its contract step")
    floor.change(rollbackTo=first)
    return [("a revision that is not kept", unknown.settled()), ("below the schema floor", floor.settled())]


def rollback_to_before_the_contract() -> Told:
    """While a contract step is only pending, the version that it would cut off may still be gone back to."""
    story = pending()
    upgrade = last_id(story)
    story.machinery.jobs["expand"] = [NOTHING]
    story.change(rollbackTo=story.status.standby_revision)
    story.until(Phase.BRINGING_UP)
    shortened(story)
    approve(story, upgrade, "contract")
    return story.wait(5)


TALES: tuple[Tale, ...] = (
    rollback_commanded,
    rollback_by_script,
    rollback_to_a_kept_revision,
    rollback_to_refused,
    rollback_to_before_the_contract,
)
