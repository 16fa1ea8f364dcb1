"""The operator's own passes keep receipts: before a step forward, after all else, and not where the CRD drops them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import structlog
from tests.unit.domain.plane import spec
from tests.unit.domain.story import NAME, NAMESPACE, UID, Story, checkpoint, installed
from tests.unit.domain.surroundings import Inline
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.clock import ServerClock, wall_clock
from conductor.adapters.kube import ApiError, Object
from conductor.adapters.outbound import Outbound
from conductor.adapters.prometheus import Prometheus
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.receipts import read, segment_name
from conductor.api.status import Phase
from conductor.api.urls import DEFAULT_URLS
from conductor.domain.decide import decide
from conductor.observe.cache import Cache
from conductor.observe.parsed import Parsed
from conductor.runtime import metrics
from conductor.runtime.announcer import Announcer
from conductor.runtime.passes import Passes
from conductor.runtime.receipt_sink import ReceiptSink
from conductor.runtime.samples import BackgroundSamples
from conductor.runtime.sight import Sight

KEY = (NAMESPACE, NAME)


class Clock:
    """Seconds that go on only where a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Operator:
    """Passes as they run, on a story's cluster."""

    def __init__(self, story: Story, wall: Callable[[], datetime] = wall_clock) -> None:
        self.clock = Clock()
        self.pressing: dict[tuple[str, str], bool] = {}
        self.sink = ReceiptSink(story.kube, self.clock)
        parsed = Parsed()
        # No watch has shown anything yet: every pass reads afresh.
        unlisted = Cache(lambda _: None, parsed, expected=["pods"])
        self.passes = Passes(
            story.kube,
            BackgroundSamples(
                lambda _: None, Prometheus(DEFAULT_URLS, Outbound(), wall_clock), Outbound(), wall_clock
            ),
            lambda *_: 1,
            lambda: True,
            Sight(story.kube, Inline(), unlisted, parsed, self.clock),
            receipts=self.sink,
            announcer=Announcer(story.kube, [Inline()]),
            press=self.pressing.__setitem__,
            clock=ServerClock(wall=wall),
        )

    def run(self, times: int = 1) -> float | None:
        after: float | None = None
        for _ in range(times):
            after = self.passes.run(KEY)
        return after


def started() -> Story:
    """1.0.0 serves, 1.1.0 was just asked for."""
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    return story


def soaking() -> Story:
    def tell() -> Story:
        story = installed(spec("1.0.0"))
        story.apply(spec("1.1.0"))
        return story.until(Phase.SOAKING)

    return checkpoint("receipts soaking", tell)


def made(story: Story) -> list[str]:
    """Writes since the story was told, but for Events."""
    return [
        f"{write.verb} {write.kind}" + (f"/{write.subresource}" if write.subresource else "")
        for write in story.kube.writes
        if write.kind != "Event" and not write.dry_run
    ]


STATUS = f"replace {names.KIND}/status"


def test_intent_then_evidence_then_effect() -> None:
    story = started()
    Operator(story).run()
    assert made(story) == [STATUS, "patch ConfigMap", "create ControllerRevision"]


def test_what_an_effect_came_to_is_told_with_the_next_decision() -> None:
    story = started()
    Operator(story).run(3)
    chain = story.chain()
    assert chain.proven
    assert [(receipt["kind"], receipt.get("result")) for receipt in chain.receipts[-3:]][:2] == [
        ("outcome", "Done"),
        ("phase", None),
    ]


def test_each_receipt_is_counted_and_logged_word_for_word() -> None:
    story = started()
    before = metrics.RECEIPTS.labels("intent")._value.get()
    with structlog.testing.capture_logs() as said:
        Operator(story).run()
    lines = [entry["line"] for entry in said if entry["event"] == "receipt"]
    assert [read(line)["kind"] for line in lines] == ["intent"]
    assert lines[0] in story.release["status"]["receipts"]["outbox"]
    assert metrics.RECEIPTS.labels("intent")._value.get() == before + 1


def away(moment: Moment, write: Write) -> None:
    if moment == "before" and write.kind == "ConfigMap" and "-receipts-" in write.name:
        raise ApiError(503, "ServiceUnavailable", "away")


def test_the_effect_waits_and_is_made_as_soon_as_its_evidence_is_kept() -> None:
    story = started()
    operator = Operator(story)
    story.kube.fault = away
    assert operator.run() == 0.0
    assert made(story) == [STATUS]
    assert operator.sink.waiting() > 0
    waits = operator.run()
    assert waits is not None
    assert 0 < waits <= 1.0, "tried again in a second"
    assert story.status.reason == Reason.RECEIPTS_NOT_KEPT
    assert operator.run() == waits
    assert made(story) == [STATUS, STATUS], "waiting is written once"

    operator.clock.seconds += 1.0
    operator.run()
    pauses = []
    for _ in range(8):
        after = operator.run()
        assert after is not None
        pauses.append(after)
        operator.clock.seconds += after
        operator.run()
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0

    story.kube.fault = None
    operator.clock.seconds += 30.0
    assert operator.run() == 0.0, "what was held goes on at once"
    assert operator.sink.waiting() == 0
    operator.run()
    assert "create ControllerRevision" in made(story)


def test_an_older_crd_is_named_and_holds_up_steps_forward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    story = soaking()
    replace = story.kube.replace

    def pruning(kind: str, namespace: str, manifest: Object, subresource: str | None = None) -> Object:
        status = {key: value for key, value in manifest["status"].items() if key != "receipts"}
        return replace(kind, namespace, {**manifest, "status": status}, subresource)

    monkeypatch.setattr(story.kube, "replace", pruning)
    kept = story.chain(without_status=True).receipts
    operator = Operator(story)
    operator.run(6)
    assert story.status.reason == Reason.RECEIPTS_NOT_KEPT
    assert "crds/controlplanereleases.yaml" in story.status.message
    assert "receipts" not in story.release["status"]
    assert story.chain(without_status=True).receipts == kept, "what no status holds is no evidence"

    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    operator.run(4)
    assert story.serving() == {"1.0.0"}
    assert story.chain(without_status=True).proven


def test_a_release_at_rest_is_compared_once_in_its_own_time() -> None:
    story = installed(spec("1.0.0"))
    looked: list[str] = []
    get = story.kube.get

    def listening(kind: str, namespace: str | None, name: str) -> Object | None:
        if "-receipts-" in name:
            looked.append(name)
        return get(kind, namespace, name)

    story.kube.get = listening  # type: ignore[method-assign]
    operator = Operator(story)
    for _ in range(40):
        operator.run()
        operator.clock.seconds += 10.0
    assert len(looked) == 1
    assert made(story) == []


def test_what_a_former_leader_made_a_moment_ago_is_kept_at_once() -> None:
    """It may have died between the status and the sink."""
    story = installed(spec("1.0.0"))
    last = max(story.kube.list("ConfigMap", NAMESPACE, f"{names.LABEL_RECEIPTS}={NAME}")[0]["data"])
    segment = segment_name(NAME, UID, 0)
    story.kube.edit("ConfigMap", NAMESPACE, segment, {"data": {last: None}})
    sink = ReceiptSink(story.kube, Clock())
    s = story.observe()
    sink.after_pass(s, decide(s, sink.known(s)))
    assert made(story) == ["patch ConfigMap"]
    assert story.chain(without_status=True).proven


def test_what_was_remembered_is_forgotten_with_the_release_and_with_the_lead() -> None:
    story = started()
    operator = Operator(story)
    story.kube.fault = away
    operator.run(2)
    assert operator.sink.waiting() > 0
    s = story.observe()
    assert operator.sink.retry_after(s) is not None
    story.epoch += 1
    assert operator.sink.retry_after(story.observe()) is None, "another leader may have mended it"

    story.kube.drop(names.KIND, NAMESPACE, NAME)
    assert operator.run() is None
    assert operator.sink.waiting() == 0


def test_troubles_are_said_in_words_that_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that holds an address or a time would be a write of the status at each try."""
    said = set()
    for number in range(3):
        story = started()
        error = ApiError(0, "NoAnswer", f"<connection at 0x{number}>: timed out after {number} s")

        def fail(moment: Moment, write: Write, error: Any = error) -> None:
            if moment == "before" and write.kind == "ConfigMap":
                raise error

        story.kube.fault = fail
        Operator(story).run(2)
        said.add(story.status.message)
    assert len(said) == 1
    assert json.dumps(said.pop())


def test_a_release_presses_for_as_long_as_its_candidate_has_users() -> None:
    """Its way back does not stand in a queue behind upgrades that begin."""
    story = started()
    operator = Operator(story)
    operator.run()
    assert operator.pressing == {KEY: False}

    story = soaking()
    operator = Operator(story)
    operator.run()
    assert operator.pressing == {KEY: True}

    story.kube.drop(names.KIND, NAMESPACE, NAME)
    operator.run()
    assert operator.pressing == {KEY: False}
