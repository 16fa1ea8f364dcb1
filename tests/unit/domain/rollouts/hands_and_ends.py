"""Somebody else changes what the operator looks after; the release is deleted."""

from tests.unit.domain.rollouts.planes import EVERY_PHASE, Tale, Told, last_id, small, under_way, whole
from tests.unit.domain.story import NAMESPACE, Story, checkpoint, installed

from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.spec import DeletionPolicy
from conductor.api.status import Phase

HEADING = "Other hands, and the end"


def taken_by_somebody_else() -> Told:
    """A Service is pointed elsewhere: put back twice, then people have to settle it; a retry says that they have."""
    story = installed(small("1.0.0"))
    for _ in range(3):
        _take(story)
        story.wait(3)
    story.long_after(minutes=30)
    story.annotate(names.ANNOTATION_RETRY, f"{last_id(story)}/traffic/2")
    story.until(Reason.STABLE).wait(3)
    return story


def taken_in_the_soak() -> Told:
    """Somebody keeps pointing the Service back at the old colour in the soak: it stays where they have users then."""
    story = under_way(Phase.SOAKING)
    for _ in range(3):
        story.note("helm applies its own selector on mc-api: 1.0.0")
        owned = [{"manager": "helm", "fieldsV1": {"f:spec": {"f:selector": {}}}}]
        selector = {names.LABEL_REVISION: story.upgrade.from_revision}
        change = {"metadata": {"managedFields": owned}, "spec": {"selector": selector}}
        story.kube.edit("Service", NAMESPACE, "mc-api", change)
        story.wait(2)
    story.long_after(minutes=30)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    return story.settled()


def _take(story: Story) -> None:
    story.note("somebody points mc-api at app=mc")
    change = {"spec": {"selector": {names.LABEL_REVISION: None, "app": "mc"}}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)


def _left(story: Story) -> str:
    """What is there, in brief."""
    deployments = ", ".join(f"{name} x{count}" for name, count in sorted(story.deployments().items()))
    services = ", ".join(
        f"{item['metadata']['name']} to {' and '.join(sorted(story.serving(item['metadata']['name']))) or 'nothing'}"
        for item in story.kube.list("Service", NAMESPACE)
    )
    jobs = ", ".join(item["metadata"]["name"].rsplit("-", 2)[1] for item in story.kube.list("Job", NAMESPACE))
    return f"left: Deployments {deployments or 'none'}; Services {services or 'none'}; Jobs {jobs or 'none'}"


def deleted_and_orphaned() -> Told:
    """deletionPolicy: Orphan, the release deleted in each phase: everything stays as it is, and serves."""
    told = []
    for phase in (*EVERY_PHASE, Phase.STABLE):
        story = installed(whole("1.0.0")).begin() if phase is Phase.STABLE else under_way(phase)
        story.delete()
        story.turn()
        assert story.gone
        assert story.serving(), "users are served"
        story.note(_left(story))
        told.append((f"in {phase}", story))
    return told


def deleted_with_everything() -> Told:
    """deletionPolicy: Delete, the release deleted in each phase: everything of ours goes, a schema stays as it is."""
    return [(f"in {phase}", _deleted(phase)) for phase in (*EVERY_PHASE, Phase.STABLE)]


def _deleted(phase: Phase) -> Story:
    policy = str(DeletionPolicy.DELETE)

    def tell() -> Story:
        story = installed(whole("1.0.0", deletionPolicy=policy))
        if phase is not Phase.STABLE:
            story.apply(whole("1.1.0", deletionPolicy=policy))
            story.until(phase)
        return story

    story = checkpoint(f"rollouts deleted {phase}", tell).begin()
    story.delete()
    for _ in range(10):
        story.turn()
    assert story.gone
    story.note(_left(story))
    return story


def deletion_policy_at_the_last_moment() -> Told:
    """The policy is set back to Orphan just before, or even after, the release is deleted: what serves stays."""
    before = installed(small("1.0.0", deletionPolicy="Delete")).begin()
    before.change(deletionPolicy="Orphan")
    before.delete()

    after = installed(small("1.0.0", deletionPolicy="Delete")).begin()
    after.delete()
    after.change(deletionPolicy="Orphan")
    for story in (before, after):
        story.turn()
        story.turn()
        assert story.gone
        story.note(_left(story))
    return [("before", before), ("after", after)]


TALES: tuple[Tale, ...] = (
    taken_by_somebody_else,
    taken_in_the_soak,
    deleted_and_orphaned,
    deleted_with_everything,
    deletion_policy_at_the_last_moment,
)
