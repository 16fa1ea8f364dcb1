"""The one step from a plan to the receipts of it: pure, bounded, and understanding what other versions wrote."""

from dataclasses import replace

import pytest
from tests.unit.domain.plane import spec
from tests.unit.domain.story import Story, installed

from conductor.api.parse import parse_status
from conductor.api.receipts import BEGINNING, LINE_BYTES, Kind, Result, read
from conductor.api.status import FoldedReceipts, OpenIntent, Phase, ReceiptsStatus, ReleaseStatus
from conductor.domain.decide import decide
from conductor.domain.determine import determine
from conductor.domain.effects import DeletePods, Effect
from conductor.domain.keeping import EffectReport, Known
from conductor.domain.plan import Plan, plan
from conductor.domain.receipts import not_kept, record
from conductor.domain.snapshot import Snapshot


def asking(story: Story, effect: Effect, status: ReleaseStatus) -> tuple[Snapshot, Plan]:
    s = replace(story.observe(), status=status)
    return s, Plan(status.model_copy(update={"message": "now"}), effect)


def test_the_same_decision_makes_the_same_bytes() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    s = story.observe()
    known = story.operator.receipts.known(s)
    assert decide(s, known) == decide(s, known)
    assert decide(s, known).plan.status.receipts != s.status.receipts


def test_deciding_alone_makes_none() -> None:
    """`plan` knows nothing of receipts, so that models of it stay small."""
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    s = story.observe()
    assert plan(s, determine(s)).status.receipts == s.status.receipts


def test_the_longest_line_fits() -> None:
    story = installed(spec("1.0.0"))
    story.apply(spec("1.1.0"))
    story.until(Phase.BRINGING_UP)
    upgrade = story.upgrade.model_copy(
        update={"from_": "1" * 64, "to": "2" * 64, "from_revision": "a" * 64, "to_revision": "b" * 64}
    )
    ended = story.status.last_upgrade
    assert ended is not None
    longest = "\u001f" * 4096
    pods = DeletePods(tuple((f"{'p' * 240}-{number}", "uid") for number in range(50)))
    intent = OpenIntent(sequence=2**40, effect="DeleteObjects", subject="s" * 320)
    status = story.status.model_copy(
        update={
            "upgrade": upgrade,
            "reason": "R" * 253,
            "message": longest,
            "phase": Phase.BOOTSTRAPPING,
            "receipts": ReceiptsStatus(sequence=2**40, hash="f" * 64, open=intent),
        }
    )
    s = replace(story.observe(), name="m" * 40, namespace="n" * 63, uid="6" * 36, epoch=2**40, status=status)
    after = status.model_copy(update={"phase": Phase.ROLLING_BACK, "last_upgrade": ended})
    known = Known(report=EffectReport(intent, "R" * 253, longest))
    made = record(s, known, Plan(after, pods), pods).status.receipts
    assert made is not None
    assert [len(line.encode()) <= LINE_BYTES for line in made.outbox] == [True] * 3
    assert parse_status({"receipts": made.model_dump(mode="json", by_alias=True)}).receipts is not None


def test_two_long_lists_of_objects_are_two_intents() -> None:
    story = installed(spec("1.0.0"))
    pods = [(f"mc-api-blue-0123456789-{number:05d}", "uid") for number in range(40)]
    s, first = asking(story, DeletePods(tuple(pods)), story.status)
    opened = record(s, Known(), first, first.effect).status
    s, second = asking(story, DeletePods((*pods[:-1], ("another", "uid"))), opened)
    made = record(s, Known(), second, second.effect).status.receipts
    assert made is not None
    assert [read(line)["kind"] for line in made.outbox[-2:]] == [Kind.OUTCOME, Kind.INTENT]


@pytest.mark.parametrize(
    "effect", ["PinConfigMap", "SwitchServices", "ClaimObjects", "ScaleDeployment", "Later"]
)
@pytest.mark.parametrize("subject", ["", "nonsense", "a=b=c", "Kind/name,"])
def test_a_subject_of_another_version_is_not_understood_and_does_no_harm(effect: str, subject: str) -> None:
    story = installed(spec("1.0.0"))
    told = story.status.receipts
    assert told is not None
    intent = OpenIntent(sequence=told.sequence, effect=effect, subject=subject)
    status = story.status.model_copy(update={"receipts": told.model_copy(update={"open": intent})})
    s = replace(story.observe(), status=status)
    made = decide(s, Known()).plan.status.receipts
    assert made is not None
    assert made.open is None
    assert f'"result":"{Result.UNKNOWN}"' in made.outbox[-1]


def test_only_what_is_known_to_be_kept_leaves_the_outbox() -> None:
    outbox = [f'{{"hash":"{letter}","sequence":{number}}}' for number, letter in enumerate("abc")]
    assert not_kept(outbox, "") == tuple(outbox)
    assert not_kept(outbox, "b") == (outbox[2],)
    assert not_kept(outbox, "c") == ()
    assert not_kept(outbox, "of another chain") == tuple(outbox)


def test_folding_and_its_end_are_written_and_read() -> None:
    story = installed(spec("1.0.0"))
    told = ReceiptsStatus(folded=FoldedReceipts(count=3, since=story.now))
    s = replace(story.observe(), status=story.status.model_copy(update={"receipts": told}))
    assert decide(s, Known()).plan.status.receipts == told, "no end is known: nothing can be tied to it"
    made = decide(s, Known(head=BEGINNING)).plan.status.receipts
    assert made is not None
    assert [read(line)["kind"] for line in made.outbox] == [Kind.OPENED, Kind.FOLDED]
    assert made.folded is None


def test_an_intent_that_was_folded_is_answered_by_the_sequence_of_the_fold() -> None:
    story = installed(spec("1.0.0"))
    folded = FoldedReceipts(count=1, since=story.now)
    told = ReceiptsStatus(
        folded=folded, open=OpenIntent(sequence=0, effect="CreateObject", subject="Job/none")
    )
    s = replace(story.observe(), status=story.status.model_copy(update={"receipts": told}))
    made = decide(s, Known(head=BEGINNING)).plan.status.receipts
    assert made is not None
    opened, fold, outcome = map(read, made.outbox)
    assert (opened["kind"], fold["kind"], outcome["intent"]) == (Kind.OPENED, Kind.FOLDED, fold["sequence"])
