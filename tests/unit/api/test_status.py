"""The status is the engine's only memory: it comes back from the API server as it was written."""

from datetime import UTC, datetime

from tests.unit.domain.plane import migrations, spec, traffic
from tests.unit.domain.story import installed

from conductor.api.parse import parse_status
from conductor.api.status import ReleaseStatus, format_instant


def written(status: ReleaseStatus) -> ReleaseStatus:
    return parse_status(status.model_dump(mode="json", by_alias=True, exclude_none=True))


def test_every_status_of_an_upgrade_comes_back_as_it_was() -> None:
    story = installed(spec("1.0.0", migrations=migrations("1.0.0")))
    story.apply(
        spec("1.1.0", migrations=migrations("1.1.0"), traffic=traffic(ramp=[{"weight": 50, "hold": "2s"}]))
    )
    seen = 0
    while story.status.last_upgrade is None or story.status.last_upgrade.to != "1.1.0":
        story.turn()
        assert written(story.status) == story.status
        seen += 1
    assert seen > 20


def test_none_is_not_written_and_names_are_camel_case() -> None:
    status = ReleaseStatus(active_revision="abc")
    dumped = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert dumped["activeRevision"] == "abc"
    assert "upgrade" not in dumped
    assert None not in dumped.values()


def test_instants_keep_their_order_within_a_second() -> None:
    earlier = datetime(2026, 3, 1, 12, 0, 0, 1_000, tzinfo=UTC)
    later = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    assert format_instant(earlier) == "2026-03-01T12:00:00.001Z"
    assert format_instant(earlier) < format_instant(later)
