"""Which receipts a release's life leaves: whole stories, failures, crashes, a sink that is away, other operators."""

from collections import Counter
from typing import Any

import pytest
from tests.unit.domain.plane import api_component, migrations, spec, traffic, worker_component
from tests.unit.domain.process import OperatorDiedError
from tests.unit.domain.story import BAD, NAME, NAMESPACE, UID, Story, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError
from conductor.api import names
from conductor.api.parse import parse_status
from conductor.api.receipts import OUTBOX_LINES, Kind, Result
from conductor.api.status import Outcome, Phase
from conductor.domain.observed import CUT
from conductor.runtime.receipt_sink import ReceiptSink

Receipt = Any


def plane(version: str, **more: Any) -> dict[str, Any]:
    components = [api_component(version), worker_component(version)]
    return spec(version, components=components, migrations=migrations(version), **more)


def receipts(story: Story) -> list[Receipt]:
    return list(story.chain().receipts)


def phases(story: Story, upgrade: str) -> list[str]:
    """Phases that the receipts of one upgrade tell, in order."""
    return [
        str(receipt["phase"])
        for receipt in receipts(story)
        if receipt["kind"] == Kind.PHASE and receipt["upgrade"] == upgrade
    ]


class Refusing:
    """The API server answers some writes with an error, before it takes them."""

    def __init__(self, error: ApiError, kind: str, name: str = "") -> None:
        self.error, self.kind, self.name = error, kind, name
        self.refused = 0

    def __call__(self, moment: Moment, write: Write) -> None:
        if moment == "before" and not write.dry_run and write.kind == self.kind and self.name in write.name:
            self.refused += 1
            raise self.error


# whole stories


@pytest.mark.parametrize("bad", [False, True], ids=["upgrade", "rollback"])
def test_every_phase_of_the_timeline_has_its_receipt_and_every_effect_its_pair(bad: bool) -> None:
    story = installed(plane("1.0.0", traffic=traffic(ramp=[{"weight": 50, "hold": "5s"}])))
    before = len(receipts(story))
    story.apply(plane("1.1.0", traffic=traffic(ramp=[{"weight": 50, "hold": "5s"}])))
    story.until(Phase.SOAKING)
    if bad:
        story.health["1.1.0"] = BAD
    story.settled()

    last = story.status.last_upgrade
    assert last is not None
    told = phases(story, last.id)
    assert told == [*(entry.phase for entry in last.timeline), Phase.STABLE]
    end = [receipt for receipt in receipts(story) if receipt["kind"] == Kind.PHASE][-1]
    assert end["result"] == last.outcome
    assert end["toVersion"] == "1.1.0"
    assert end["message"] == last.message

    made = receipts(story)[before:]
    intents = [receipt["effect"] for receipt in made if receipt["kind"] == Kind.INTENT]
    done = [receipt["effect"] for receipt in made if receipt.get("result") == Result.DONE]
    assert Counter(intents) == Counter(done) == Counter(effect.name for effect in story.effects)
    assert all(receipt["epoch"] == story.epoch for receipt in made)


def test_everything_is_kept_once_the_release_is_at_rest() -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.settled()
    kept = story.chain(without_status=True)
    assert kept.proven
    assert kept.receipts == story.chain().receipts
    assert story.status.receipts is not None
    assert kept.receipts[-1]["hash"] == story.status.receipts.hash
    story.at_rest()


def test_a_chain_says_what_there_was_before_it() -> None:
    story = installed(plane("1.0.0"))
    first = receipts(story)[0]
    assert (first["kind"], first["sequence"]) == (Kind.OPENED, 1)
    assert first["message"] == "the chain begins here: nothing serves yet"


def test_the_switch_names_the_revision_that_every_service_gets() -> None:
    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.settled()
    (switch,) = [
        receipt
        for receipt in receipts(story)
        if receipt["kind"] == Kind.INTENT and receipt["effect"] == "SwitchServices"
    ]
    assert switch["subject"] == f"Service/mc-api={switch['toRevision']}"


def test_waiting_leaves_no_receipt() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0", approval={"beforeSwitch": True}))
    story.until(lambda: story.status.reason == "AwaitingApproval")
    before = len(receipts(story))
    story.long_after(minutes=30)
    assert len(receipts(story)) == before


def test_time_is_the_snapshots_own() -> None:
    story = installed(spec("1.0.0"))
    told = [receipt["at"] for receipt in receipts(story)]
    assert told == sorted(told)
    assert told[0] == "2026-03-01T12:00:00.123Z"


def test_evidence_outlives_the_release_and_all_that_goes_with_it() -> None:
    story = installed(spec("1.0.0", deletionPolicy="Delete"))
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    while not story.gone:
        story.turn()
    chain = story.chain()
    assert chain.proven
    assert chain.open_intent is not None
    assert (chain.open_intent["effect"], chain.open_intent["subject"]) == ("ReleaseFinalizer", "remove")
    for segment in story.kube.list("ConfigMap", NAMESPACE, f"{names.LABEL_RELEASE_UID}={UID}"):
        assert "ownerReferences" not in segment["metadata"]
        assert names.LABEL_RELEASE not in segment["metadata"]["labels"]


def test_the_outcome_of_an_upgrade_stands_on_its_last_phase() -> None:
    story = installed(spec("1.0.0"))
    story.health["1.1.0"] = BAD
    story.apply(spec("1.1.0"))
    story.settled()
    last = [receipt for receipt in receipts(story) if receipt["kind"] == Kind.PHASE][-1]
    assert (last["before"], last["phase"], last["result"]) == (
        Phase.BACKING_OUT,
        Phase.STABLE,
        Outcome.REFUSED,
    )


# what becomes of an intent


def test_an_effect_that_is_tried_again_and_again_is_one_intent() -> None:
    story = installed(spec("1.0.0"))
    before = len(receipts(story))
    story.kube.fault = fault = Refusing(ApiError(503, "ServiceUnavailable", "away"), "Deployment")
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(30)
    assert fault.refused > 20
    made = [receipt["kind"] for receipt in receipts(story)[before:]]
    assert made[-1] == Kind.INTENT
    assert made.count(Kind.INTENT) == 2, "the record of the revision, and the Deployment"

    story.kube.fault = None
    story.settled()
    assert story.serving() == {"1.1.0"}


def test_an_effect_that_was_given_up_failed_with_the_error_of_its_last_try() -> None:
    story = installed(spec("1.0.0"))
    story.kube.fault = Refusing(ApiError(403, "Forbidden", "quota used up"), "Deployment")
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP).wait(5)
    story.annotate(names.ANNOTATION_ABORT, story.upgrade.id)
    story.settled()
    failed = [receipt for receipt in receipts(story) if receipt.get("result") == Result.FAILED]
    assert [(item["effect"], item["reason"], item["message"]) for item in failed] == [
        ("CreateObject", "Forbidden", "quota used up")
    ]


@pytest.mark.parametrize(("moment", "result"), [("before", Result.UNKNOWN), ("after", Result.DONE)])
def test_an_operator_that_dies_over_an_effect_leaves_it_to_be_found(moment: Moment, result: Result) -> None:
    """The next leader claims first, so that the effect is not asked for again at once: then it is judged."""

    def die(when: Moment, write: Write) -> None:
        if when == moment and write.kind == "Service" and write.verb == "patch" and not write.dry_run:
            story.kube.fault = None
            raise OperatorDiedError

    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.kube.fault = die
    story.settled()
    switches = [
        (receipt["kind"], receipt.get("result"), receipt.get("reason"))
        for receipt in receipts(story)
        if receipt.get("effect") == "SwitchServices" and receipt["kind"] == Kind.OUTCOME
    ]
    assert switches[0][1] == result
    assert [line[1] for line in switches].count(Result.DONE) == 1
    assert story.serving() == {"1.1.0"}


def test_a_lost_answer_is_made_good_by_what_is_there() -> None:
    def lose(when: Moment, write: Write) -> None:
        if when == "after" and write.kind == "Job":
            story.kube.fault = None
            raise ApiError(0, "NoAnswer", "cut off")

    story = installed(plane("1.0.0"))
    story.apply(plane("1.1.0"))
    story.kube.fault = lose
    story.settled()
    told = [
        (receipt["result"], receipt["reason"])
        for receipt in receipts(story)
        if receipt["kind"] == Kind.OUTCOME and receipt.get("reason")
    ]
    assert told == [(Result.DONE, "Observed")]


@pytest.mark.parametrize("bad", [False, True], ids=["upgrade", "rollback"])
def test_what_nobody_told_is_found_in_place_for_every_effect(
    bad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the operator died after each of its effects, and its successor had nothing to claim."""
    monkeypatch.setattr(ReceiptSink, "reported", lambda *_: None)
    ramp = traffic(ramp=[{"weight": 40, "hold": "5s"}])
    story = Story(plane("1.0.0", traffic=ramp, deletionPolicy="Delete")).settled()
    story.apply(plane("1.1.0", traffic=ramp, deletionPolicy="Delete"))
    story.until(Phase.SOAKING).wait(4)
    if bad:
        story.health["1.1.0"] = BAD
    story.settled()
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    while not story.gone:
        story.turn()
    outcomes = [receipt for receipt in receipts(story) if receipt["kind"] == Kind.OUTCOME]
    assert {receipt["effect"] for receipt in outcomes} >= {effect.name for effect in story.effects}
    lost = [item for item in outcomes if (item["result"], item.get("reason")) != (Result.DONE, "Observed")]
    # A list of objects that was too long to be written whole cannot be looked for.
    assert not [item for item in lost if CUT not in item["subject"]]


# no room, no end, other operators


def test_a_rollback_without_a_sink_folds_what_finds_no_room_and_says_so() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)
    story.health["1.1.0"] = BAD
    away = Refusing(ApiError(503, "ServiceUnavailable", "away"), "ConfigMap", "-receipts-")
    story.kube.fault = away
    story.settled()
    assert story.serving() == {"1.0.0"}, "a rollback waits for no sink"
    for _ in range(OUTBOX_LINES):
        story.kube.drop("Service", NAMESPACE, "mc-api")
        story.wait(2)
    assert story.serving() == {"1.0.0"}, "repair waits for no sink"
    told = story.status.receipts
    assert told is not None
    assert len(told.outbox) <= OUTBOX_LINES
    assert told.folded is not None

    story.kube.fault = None
    story.wait(120)
    story.at_rest()
    chain = story.chain(without_status=True)
    assert chain.proven
    (folded,) = chain.interruptions
    assert folded["kind"] == Kind.FOLDED
    assert folded["count"] == told.folded.count
    story.apply(spec("1.2.0"))
    story.settled()
    assert story.serving() == {"1.2.0"}


def test_an_older_operator_drops_the_chain_and_a_newer_one_takes_it_up() -> None:
    story = installed(spec("1.0.0"))
    before = receipts(story)[-1]
    # What an operator does that knows no receipts: it writes the whole status without them.
    status = {key: value for key, value in story.release["status"].items() if key != "receipts"}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": status})
    story.operator = type(story.operator)(story.kube, lambda: 0.0)
    story.apply(spec("1.1.0"))
    story.settled()

    chain = story.chain()
    assert chain.proven
    (resumed,) = chain.interruptions
    assert resumed["sequence"] == before["sequence"] + 1
    assert resumed["previous"] == before["hash"]
    assert "the status had lost the chain" in resumed["message"]


def test_a_status_without_receipts_is_read_and_a_release_at_rest_is_not_written_for_them() -> None:
    story = installed(spec("1.0.0"))
    status = {key: value for key, value in story.release["status"].items() if key != "receipts"}
    assert parse_status(status).receipts is None
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": status})
    story.at_rest()


def test_what_a_newer_operator_notes_about_receipts_is_carried_along() -> None:
    story = installed(spec("1.0.0"))
    noted = {**story.release["status"]["receipts"], "signature": "later"}
    status = {**story.release["status"], "receipts": noted}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": status})
    story.apply(spec("1.1.0"))
    story.settled()
    assert story.release["status"]["receipts"]["signature"] == "later"


def test_without_an_end_to_tie_to_transitions_are_counted() -> None:
    """The sink cannot be asked while users are on their way back: the status says later how much it was."""
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.SOAKING)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(Phase.ROLLING_BACK)
    status = {key: value for key, value in story.release["status"].items() if key != "receipts"}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": status})
    story.operator = type(story.operator)(story.kube, lambda: 0.0)
    story.turn()
    told = story.status.receipts
    assert told is not None
    assert (told.sequence, told.outbox) == (0, ())
    assert told.folded is not None
    story.settled()
    assert story.serving() == {"1.0.0"}
    assert story.chain(without_status=True).proven
    assert [receipt["kind"] for receipt in story.chain().interruptions] == [Kind.RESUMED, Kind.FOLDED]
