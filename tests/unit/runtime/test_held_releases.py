"""A release whose status an older operator cannot read is held still, and loses nothing of it."""

import copy
from typing import Any

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import NAME, NAMESPACE, Story, checkpoint, installed
from tests.unit.domain.surroundings import Inline

from conductor.adapters.clock import ServerClock, wall_clock
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.status import Phase
from conductor.api.urls import DEFAULT_URLS
from conductor.observe.cache import Cache
from conductor.observe.parsed import Parsed
from conductor.runtime.announcer import Announcer
from conductor.runtime.passes import Passes
from conductor.runtime.receipt_sink import ReceiptSink
from conductor.runtime.samples import BackgroundSamples
from conductor.runtime.sight import Sight

KEY = (NAMESPACE, NAME)


def soaking() -> Story:
    def tell() -> Story:
        story = installed(spec("1.0.0"))
        story.apply(spec("1.1.0"))
        return story.until(Phase.SOAKING)

    return checkpoint("held soaking", tell)


def passes(story: Story) -> Passes:
    parsed = Parsed()
    return Passes(
        story.kube,
        BackgroundSamples(
            lambda _: None, Prometheus(DEFAULT_URLS, Outbound(), wall_clock), Outbound(), wall_clock
        ),
        lambda _: 9,
        lambda: True,
        Sight(story.kube, Inline(), Cache(lambda _: None, parsed), parsed, lambda: 0.0),
        receipts=ReceiptSink(story.kube, lambda: 0.0),
        announcer=Announcer(story.kube, [Inline()]),
        press=lambda *_: None,
        clock=ServerClock(),
    )


def write_status(story: Story, **changes: Any) -> None:
    """As a newer operator writes it."""
    story.kube.edit(names.KIND, NAMESPACE, NAME, {"status": changes})


@pytest.mark.parametrize(
    "newer",
    [
        {"phase": "Canarying"},
        {"upgrade": {"lastVerdict": {"verdict": "Shrugging", "at": "2026-03-01T12:00:00Z"}}},
    ],
)
def test_nothing_is_changed_and_a_person_is_told(newer: dict[str, Any]) -> None:
    story = soaking()
    write_status(story, **newer, canary={"share": 3})
    before = copy.deepcopy(story.release["status"])
    writes = len(story.kube.writes)
    under = passes(story)
    for _ in range(5):
        assert under.run(KEY) == 300.0

    after = story.release["status"]
    conditions = {item["type"]: item for item in after.pop("conditions")}
    before.pop("conditions")
    assert after == before, "not a word of the newer operator's is lost"
    assert (conditions["Stalled"]["status"], conditions["Ready"]["status"]) == ("True", "False")
    assert conditions["Stalled"]["reason"] == Reason.NEWER_STATUS
    assert "is not what this operator can read" in conditions["Stalled"]["message"]
    assert conditions["TrafficConverged"]["status"] == "True", "what it does not know stays said"
    assert [(write.kind, write.verb) for write in story.kube.writes[writes:]] == [
        (names.KIND, "replace"),
        ("Event", "create"),
    ]


def test_the_newer_operator_finds_everything_as_it_left_it() -> None:
    story = soaking()
    status = copy.deepcopy(story.release["status"])
    write_status(story, phase="Canarying")
    passes(story).run(KEY)

    write_status(story, phase=status["phase"])
    story.settled()
    assert story.status.active_version == "1.1.0"
    assert story.condition("Stalled")[0] == "False"
