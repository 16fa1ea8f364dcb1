"""What a running backfill says of itself, for people: carried into the status, never decided on."""

from dataclasses import replace
from datetime import timedelta

from conductor.api.status import BackfillProgress, MigrationsStatus
from conductor.domain.situation import Acting, Waiting
from conductor.domain.snapshot import ProgressSample, Snapshot

#: Samples come every two seconds; a status that is written as often would keep the API server busy for people's eyes.
_REFRESH = timedelta(seconds=10)


def with_progress(s: Snapshot, pending: Acting | Waiting) -> Acting | Waiting:
    """The same wait, with the newest progress of the Job that is waited for."""
    sample = s.progress
    if not isinstance(pending, Waiting) or sample is None or s.status.upgrade is None:
        return pending
    said = s.status.migrations or MigrationsStatus()
    if not _news(said.progress, sample):
        return pending
    told = said.model_copy(update={"progress": _told(sample)})
    return replace(pending, changes={**pending.changes, "migrations": told})


def _news(former: BackfillProgress | None, sample: ProgressSample) -> bool:
    return former is None or former.job != sample.job or sample.at - former.at >= _REFRESH


def _told(sample: ProgressSample) -> BackfillProgress:
    left = sample.seconds_left
    return BackfillProgress(
        job=sample.job,
        rows_done=sample.rows_done,
        rows_total=sample.rows_total,
        rows_per_second=sample.rows_per_second,
        ends_at=sample.at + timedelta(seconds=left) if left is not None else None,
        at=sample.at,
    )
