"""A person changes their mind in mid-upgrade: another version, the former one, an abort."""

from tests.unit.domain.rollouts.planes import EVERY_PHASE, Tale, Told, data, under_way, whole
from tests.unit.domain.story import Story, installed

from conductor.api import names
from conductor.api.status import Phase

HEADING = "A change of mind"
_BEFORE_USERS = (Phase.EXPANDING, Phase.VERIFYING, Phase.RAMPING)


def superseded_before_the_switch() -> Told:
    """1.0.0 to 1.1.0, then 1.2.0 before the switch: the upgrade under way is taken back, then the new one starts."""
    return [(f"in {phase}", _superseded(phase)) for phase in _BEFORE_USERS]


def _superseded(phase: Phase) -> Story:
    story = under_way(phase)
    story.apply(whole("1.2.0"))
    return story.until(lambda: story.status.upgrade is not None and story.upgrade.to == "1.2.0")


def another_version_after_the_switch() -> Told:
    """1.0.0 to 1.1.0, then 1.2.0 after the switch: the upgrade under way ends first, with its contract step."""
    story = under_way(Phase.SOAKING)
    story.apply(whole("1.2.0"))
    return story.until(lambda: story.status.upgrade is not None and story.upgrade.to == "1.2.0")


def back_before_the_switch() -> Told:
    """1.0.0 to 1.1.0, then back to 1.0.0 before the switch: an abort, and the release is Ready again."""
    return [(f"in {phase}", _back(phase)) for phase in _BEFORE_USERS]


def back_after_the_switch() -> Told:
    """1.0.0 to 1.1.0, then back to 1.0.0 inside of the rollback window: traffic goes back first, as in a rollback."""
    return [(f"in {phase}", _back(phase)) for phase in (Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING)]


def _back(phase: Phase) -> Story:
    story = under_way(phase)
    story.apply(whole("1.0.0"))
    return story.settled()


def back_after_the_contract() -> Told:
    """Back to 1.0.0 once the contract step is committed: refused, because 1.0.0 cannot run on what it leaves."""
    story = under_way(Phase.CONTRACTING)
    story.apply(whole("1.0.0"))
    return story.settled()


def aborted() -> Told:
    """An abort by annotation, in each phase; once the contract step is committed it is refused."""
    told = []
    for phase in EVERY_PHASE:
        story = under_way(phase)
        story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
        told.append((f"in {phase}", story.settled()))
    return told


def migrations_taken_out() -> Told:
    """spec.migrations is taken out in mid-upgrade: what was begun in the database is still brought to its end."""
    story = installed(data("1.0.0"))
    story.apply(data("1.1.0"))
    story.until(Phase.SOAKING).begin("an upgrade that goes well, until Soaking")
    without = {key: value for key, value in story.release["spec"].items() if key != "migrations"}
    story.apply(without)
    return story.settled()


TALES: tuple[Tale, ...] = (
    superseded_before_the_switch,
    another_version_after_the_switch,
    back_before_the_switch,
    back_after_the_switch,
    back_after_the_contract,
    aborted,
    migrations_taken_out,
)
