"""The same release applied again and again, and one that was taken back asked for again: which Jobs run, and when."""

from tests.unit.domain.story import BAD, GOOD, NAMESPACE, Story, installed
from tests.unit.domain.test_migration_stories import plane, upgrading, verbs

from conductor.api.status import Outcome, Phase


def jobs(story: Story) -> set[str]:
    return {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}


def test_a_hundred_applications_of_what_serves_make_no_job_and_no_write() -> None:
    story = upgrading(Phase.STABLE)
    before, writes = jobs(story), len(story.kube.writes)
    for number in range(100):
        story.apply(plane("1.1.0"))
        # What GitOps tools write beside the spec.
        story.annotate("example.com/applied", str(number))
        story.turn()

    assert story.kube.writes[writes:] == []
    assert jobs(story) == before
    assert story.status.upgrade is None


def test_a_hundred_applications_in_mid_upgrade_run_each_step_once() -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    for _ in range(100):
        story.apply(plane("1.1.0"))
        story.turn()
    story.settled()

    assert verbs(story) == ["expand-1", "migrate-1", "contract-1"]
    assert story.status.active_version == "1.1.0"


def test_a_hundred_applications_of_what_was_refused_run_nothing() -> None:
    story = installed(plane("1.0.0"))
    story.health["1.1.0"] = BAD
    story.apply(plane("1.1.0"))
    story.settled()
    assert verbs(story) == ["expand-1", "migrate-1", "backout-1"]
    before = jobs(story)
    for _ in range(100):
        story.apply(plane("1.1.0"))
        story.turn()

    assert jobs(story) == before
    assert story.serving() == {"1.0.0"}


def test_what_was_backed_out_runs_again_in_full_when_it_is_asked_for_again() -> None:
    story = installed(plane("1.0.0"))
    story.health["1.1.0"] = BAD
    story.apply(plane("1.1.0"))
    story.settled()
    first = story.status.last_upgrade
    assert first is not None
    assert first.outcome is Outcome.REFUSED
    done = jobs(story)

    story.health["1.1.0"] = GOOD
    story.apply(plane("1.0.0"))
    story.settled()
    assert jobs(story) <= done, "going back to what serves runs nothing"
    story.apply(plane("1.1.0"))
    story.settled()

    second = story.status.last_upgrade
    assert second is not None
    assert second.id != first.id
    assert verbs(story) == ["expand-1", "migrate-1", "contract-1"]
    assert story.status.active_version == "1.1.0"
    assert story.status.migrations is not None
    assert story.status.migrations.state == "contracted"
