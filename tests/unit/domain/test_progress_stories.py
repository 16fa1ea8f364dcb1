"""A running backfill's own word in the status: for people, often enough, and never decided on."""

from datetime import UTC, datetime, timedelta

from tests.unit.domain.story import NAMESPACE, Story, installed
from tests.unit.domain.test_migration_stories import plane, verbs

from conductor.api import names
from conductor.api.status import BackfillProgress, Phase
from conductor.domain.snapshot import ProgressSample

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def sample(done: int) -> ProgressSample:
    return ProgressSample("", EPOCH, done, 1_000, rows_per_second=10, seconds_left=(1_000 - done) // 10)


def backfilling() -> Story:
    """The migrate Job runs, and does not end."""
    story = installed(plane("1.0.0"))
    story.machinery.jobs["migrate"] = [None]
    story.apply(plane("1.1.0"))
    return story.until(Phase.MIGRATING).wait(4)


def told(story: Story) -> BackfillProgress | None:
    assert story.status.migrations is not None
    return story.status.migrations.progress


def test_progress_stands_in_the_status_while_the_job_runs_and_loses_nothing_of_what_expand_said() -> None:
    story = backfilling()
    before = story.status.migrations
    assert before is not None
    assert told(story) is None, "an image that tells nothing holds nothing up"
    story.progress = sample(200)
    story.wait(6)

    found = told(story)
    assert found is not None
    assert (found.rows_done, found.rows_total, found.rows_per_second) == (200, 1_000, 10)
    assert found.ends_at == found.at + timedelta(seconds=80)
    assert found.job.endswith("-migrate-1")
    assert story.status.migrations == before.model_copy(update={"progress": found})
    assert story.status.phase is Phase.MIGRATING


def test_it_is_written_every_ten_seconds_at_most() -> None:
    story = backfilling()
    writes = len(story.kube.writes)
    for second in range(60):
        story.progress = sample(second)
        story.wait(1)
    assert 5 <= len(story.kube.writes) - writes <= 8


def test_the_answer_of_the_job_takes_its_place_and_a_new_attempt_begins_anew() -> None:
    story = installed(plane("1.0.0"))
    cut_off = {"state": "failed", "message": "no connection", "exitCode": 2}
    story.machinery.jobs["migrate"] = [cut_off, {"state": "migrated", "rowsDone": 1_000, "divergence": 0}]
    story.progress = sample(300)
    story.apply(plane("1.1.0"))
    story.until(lambda: "migrate-2" in verbs(story)).until(lambda: told(story) is not None)
    jobs = {told_by.job for told_by in [told(story)] if told_by}
    assert jobs <= {job["metadata"]["name"] for job in story.kube.list("Job", NAMESPACE)}
    story.until(Phase.VERIFYING)

    assert told(story) is None
    assert story.status.migrations is not None
    assert (story.status.migrations.state, story.status.migrations.rows_done) == ("migrated", 1_000)


def test_only_the_backfill_is_asked_and_its_container_says_where() -> None:
    story = backfilling()
    shown = {}
    for job in story.kube.list("Job", NAMESPACE):
        [container] = job["spec"]["template"]["spec"]["containers"]
        plain = {item["name"]: item.get("value") for item in container["env"]}
        shown[container["args"][0]] = (
            plain.get("MIGRATOR_PROGRESS_PORT"),
            [port["containerPort"] for port in container.get("ports", ())],
        )
    assert shown["expand"] == (None, [])
    assert shown["migrate"] == (str(names.PROGRESS_PORT), [names.PROGRESS_PORT])
