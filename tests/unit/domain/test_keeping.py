"""The sink is away, refuses, or holds something else: nothing goes forward, and everything that protects users does."""

import pytest
from tests.unit.domain.plane import spec, traffic
from tests.unit.domain.story import BAD, NAME, NAMESPACE, UID, Story, checkpoint, installed
from tests.unit.effects.memory_api import Moment, Write

from conductor.adapters.kube import ApiError, ConflictError
from conductor.api import names
from conductor.api.reasons import Reason
from conductor.api.receipts import key_of, read, seal, segment_name
from conductor.api.status import Outcome, Phase, ReceiptsStatus
from conductor.domain.chain import Fault

AWAY = ApiError(503, "ServiceUnavailable", "the admission webhook does not answer")
QUOTA = ApiError(403, "Forbidden", "exceeded quota: count/configmaps=10")
BACK_FROM = (Phase.BRINGING_UP, Phase.RAMPING, Phase.SWITCHING, Phase.SOAKING, Phase.CLOSING)
FORWARD = (Phase.PREFLIGHT, Phase.VERIFYING, *BACK_FROM)


class Sink:
    """Whether ConfigMaps that keep receipts can be written; how often that was tried."""

    def __init__(self, error: ApiError) -> None:
        self.error: ApiError | None = error
        self.tries = 0

    def __call__(self, moment: Moment, write: Write) -> None:
        if moment == "before" and write.kind == "ConfigMap" and "-receipts-" in write.name:
            self.tries += 1
            if self.error is not None:
                raise self.error


def plane(version: str) -> dict[str, object]:
    return spec(version, traffic=traffic(ramp=[{"weight": 50, "hold": "5s"}]))


def upgrading(phase: Phase) -> Story:
    """An upgrade in that phase, from a copy."""

    def tell() -> Story:
        story = installed(plane("1.0.0"))
        story.apply(plane("1.1.0"))
        return story.until(phase)

    return checkpoint(f"keeping {phase}", tell)


def without_sink(story: Story, error: ApiError = AWAY) -> Sink:
    story.kube.fault = sink = Sink(error)
    return sink


def receipts_of(story: Story) -> ReceiptsStatus:
    found = story.status.receipts
    assert found is not None
    return found


@pytest.mark.parametrize("phase", FORWARD)
def test_nothing_goes_forward_without_the_sink_and_everything_goes_on_with_it(phase: Phase) -> None:
    story = upgrading(phase)
    sink = without_sink(story)
    story.until(Reason.RECEIPTS_NOT_KEPT)
    held = story.status
    assert "a rollback does not" in held.message
    assert story.condition("Stalled")[0] == "False", "it may come back by itself"
    effects, statuses = len(story.effects), len(story.kube.writes)
    story.wait(60)
    assert story.status == held, "waiting is not written again and again"
    assert len(story.effects) == effects
    assert len(story.kube.writes) == statuses
    assert 2 <= sink.tries <= 12, "tried again, at growing intervals"

    sink.error = None
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert story.chain(without_status=True).proven


def test_it_is_told_once_as_an_event() -> None:
    story = upgrading(Phase.BRINGING_UP)
    without_sink(story)
    story.until(Reason.RECEIPTS_NOT_KEPT).wait(60)
    told = [event["reason"] for event in story.kube.list("Event", NAMESPACE) if event["type"] == "Warning"]
    assert told == [Reason.RECEIPTS_NOT_KEPT]


@pytest.mark.parametrize("phase", BACK_FROM)
def test_going_back_waits_for_no_sink(phase: Phase) -> None:
    story = upgrading(phase)
    without_sink(story)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()
    assert story.serving() == {"1.0.0"}
    last = story.status.last_upgrade
    assert last is not None
    assert last.outcome is Outcome.ROLLED_BACK
    chain = story.chain()
    assert chain.proven, "it stands in the status meanwhile"
    assert chain.not_kept


def test_going_back_does_not_even_speak_to_the_sink_until_users_are_back() -> None:
    """A sink that hangs must not hold up a pass."""
    story = upgrading(Phase.SOAKING)
    sink = without_sink(story)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.until(Phase.ROLLING_BACK)
    sink.tries = 0
    story.until(lambda: story.status.phase is not Phase.ROLLING_BACK)
    assert sink.tries == 0


def test_a_verdict_against_the_candidate_counts_while_its_next_step_waits() -> None:
    story = upgrading(Phase.SOAKING)
    without_sink(story)
    story.until(Reason.RECEIPTS_NOT_KEPT)
    story.health["1.1.0"] = BAD
    story.settled()
    assert story.serving() == {"1.0.0"}


def test_traffic_is_repaired_without_the_sink() -> None:
    story = installed(plane("1.0.0"))
    without_sink(story)
    story.kube.drop("Service", NAMESPACE, "mc-api")
    story.wait(10)
    assert story.serving() == {"1.0.0"}
    change = {"spec": {"selector": {names.LABEL_REVISION: None, "app": "mc"}}}
    story.kube.edit("Service", NAMESPACE, "mc-api", change)
    story.wait(10)
    assert story.serving() == {"1.0.0"}


def test_a_new_leader_claims_without_the_sink() -> None:
    story = upgrading(Phase.SOAKING)
    without_sink(story)
    story.epoch += 1
    story.until(lambda: story.status.epoch == story.epoch)


def test_a_deletion_waits_for_no_sink() -> None:
    story = installed(spec("1.0.0", deletionPolicy="Delete"))
    without_sink(story)
    story.kube.delete(names.KIND, NAMESPACE, NAME)
    for _ in range(50):
        story.turn()
    assert story.gone
    assert story.deployments() == {}


def test_a_refusal_is_stalled_and_names_the_mend() -> None:
    story = upgrading(Phase.BRINGING_UP)
    sink = without_sink(story, QUOTA)
    story.until(Reason.RECEIPTS_NOT_KEPT)
    assert story.condition("Stalled")[0] == "True"
    assert QUOTA.message in story.status.message
    assert "mend the operator's rights, the admission policy or the quota" in story.status.message
    sink.error = None
    story.settled()
    assert story.serving() == {"1.1.0"}


def test_other_writers_of_the_config_map_only_cost_another_look() -> None:
    story = upgrading(Phase.BRINGING_UP)
    storm = 0

    def meet(moment: Moment, write: Write) -> None:
        nonlocal storm
        if moment == "before" and write.kind == "ConfigMap" and "-receipts-" in write.name and storm < 40:
            storm += 1
            if storm % 4:
                raise ConflictError(409, "Conflict", "the object has been modified")

    story.kube.fault = meet
    story.settled()
    assert storm == 40
    assert story.serving() == {"1.1.0"}
    assert story.chain(without_status=True).proven


def forge(story: Story) -> str:
    """Somebody writes a receipt of their own where the next one belongs; answers its key."""
    told = receipts_of(story)
    content = {"uid": UID, "sequence": told.sequence + 1, "previous": told.hash, "message": "forged"}
    line, _ = seal(content)
    key = key_of(told.sequence + 1)
    story.kube.edit("ConfigMap", NAMESPACE, segment_name(NAME, UID, 0), {"data": {key: line}})
    return key


class Unproven:
    """A chain that is not proven is what these stories are about."""

    def chain(self, chain: object) -> None:
        assert chain is not None


def forked(monkeypatch: pytest.MonkeyPatch) -> tuple[Story, str]:
    story = installed(plane("1.0.0"))
    monkeypatch.setattr("tests.unit.domain.invariants.Invariants.chain", Unproven.chain)
    return story, forge(story)


def test_a_fork_stops_every_step_forward_until_a_person_settles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    story, key = forked(monkeypatch)
    story.apply(plane("1.1.0"))
    story.until(Reason.RECEIPTS_FORKED)
    story.wait(60)
    assert story.status.reason == Reason.RECEIPTS_FORKED
    assert story.condition("Stalled") == ("True", Reason.RECEIPTS_FORKED)
    assert key in story.status.message
    assert f"conductor receipts {NAME} -n {NAMESPACE} --verify" in story.status.message
    assert {defect.fault for defect in story.chain().defects} == {Fault.FORK}
    assert story.serving() == {"1.0.0"}

    # The mend: save it elsewhere, take it out.
    segment = segment_name(NAME, UID, 0)
    story.kube.edit("ConfigMap", NAMESPACE, segment, {"data": {key: None}})
    story.settled()
    assert story.serving() == {"1.1.0"}
    assert story.chain(without_status=True).proven


def test_a_rollback_goes_on_over_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    story = upgrading(Phase.SOAKING)
    monkeypatch.setattr("tests.unit.domain.invariants.Invariants.chain", Unproven.chain)
    forge(story)
    story.until(Reason.RECEIPTS_FORKED)
    story.annotate(names.ANNOTATION_ROLLBACK, story.upgrade.id)
    story.settled()
    assert story.serving() == {"1.0.0"}


def test_a_status_that_was_restored_from_a_backup_is_a_fork_with_a_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = installed(plane("1.0.0"))
    backup = story.release["status"]
    story.apply(plane("1.1.0"))
    story.settled()
    story.apply(plane("1.0.0"))
    story.settled()
    monkeypatch.setattr("tests.unit.domain.invariants.Invariants.chain", Unproven.chain)
    restored = {**story.release["status"], "receipts": backup["receipts"]}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": restored})
    story.apply(plane("1.2.0"))
    story.until(Reason.RECEIPTS_FORKED)
    chain = story.chain()
    assert Fault.FORK in {defect.fault for defect in chain.defects}

    # The mend that the verification names: the chain goes on after the last receipt that is kept.
    healed = {key: value for key, value in story.release["status"].items() if key != "receipts"}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": healed})
    monkeypatch.undo()
    story.settled()
    assert story.serving() == {"1.2.0"}
    assert [receipt["kind"] for receipt in story.chain(without_status=True).interruptions] == ["resumed"]


def test_an_outbox_that_somebody_changed_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    story = upgrading(Phase.BRINGING_UP)
    sink = without_sink(story)
    story.until(Reason.RECEIPTS_NOT_KEPT)
    monkeypatch.setattr("tests.unit.domain.invariants.Invariants.chain", Unproven.chain)
    told = story.release["status"]["receipts"]
    damaged = [line.replace("BringingUp", "Switching") for line in told["outbox"]]
    changed = {**story.release["status"], "receipts": {**told, "outbox": damaged}}
    story.kube.put(names.KIND, NAMESPACE, {**story.release, "status": changed})
    sink.error = None
    story.until(Reason.RECEIPTS_FORKED)
    assert "put it back as the operator's log has it" in story.status.message
    kept = story.chain(without_status=True)
    assert kept.proven, "nothing of it was brought to the sink"

    story.kube.edit(names.KIND, NAMESPACE, NAME, {"status": {"receipts": {"outbox": told["outbox"]}}})
    monkeypatch.undo()
    story.settled()
    assert story.serving() == {"1.1.0"}


def test_a_crash_between_the_status_and_the_sink_is_made_good_at_rest() -> None:
    story = installed(plane("1.0.0"))
    told = receipts_of(story)
    last = read(told.outbox[-1])["sequence"]
    story.kube.edit("ConfigMap", NAMESPACE, segment_name(NAME, UID, 0), {"data": {key_of(last): None}})
    story.operator = type(story.operator)(story.kube, lambda: 0.0)
    before = len(story.kube.writes)
    story.wait(5)
    assert [(write.verb, write.kind) for write in story.kube.writes[before:]] == [("patch", "ConfigMap")]
    assert story.chain(without_status=True).receipts[-1]["hash"] == told.hash
    story.at_rest()
