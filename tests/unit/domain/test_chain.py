"""The proof of a chain: whatever is done to its lines is found, at its place, with a mend."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor.api.receipts import BEGINNING, Kind, Link, Result, key_of, read, seal, segment_name, segment_of
from conductor.domain.chain import OUTBOX, Chain, Entry, Fault, verify

NAME, UID = "mc", "6c1e0d5a-1111-2222-3333-444455556666"
LENGTH = 7
Lines = list[str]


def lines(length: int = LENGTH, uid: str = UID, **more: Any) -> Lines:
    """A chain of phases, with an intent and its outcome in the middle."""
    made: Lines = []
    head = BEGINNING
    for sequence in range(1, length + 1):
        kind: dict[str, Any] = {"kind": Kind.PHASE}
        if sequence == 4:
            kind = {"kind": Kind.INTENT}
        if sequence == 5:
            kind = {"kind": Kind.OUTCOME, "intent": 4, "result": Result.DONE}
        content = {"schema": 1, "uid": uid, "name": NAME, "sequence": sequence, "previous": head.hash}
        line, head = seal({**content, **kind, **more})
        made.append(line)
    return made


def entries(stored: Sequence[str]) -> list[Entry]:
    return [entry(line) for line in stored]


def entry(line: str, key: str = "") -> Entry:
    sequence = read(line)["sequence"]
    return Entry(segment_name(NAME, UID, segment_of(sequence)), key or key_of(sequence), line)


def end_of(stored: Sequence[str]) -> Link:
    content = read(stored[-1])
    return Link(content["sequence"], content["hash"])


def check(stored: Sequence[Entry], outbox: Sequence[str] = (), head: Link | None = None) -> Chain:
    return verify(NAME, UID, stored, outbox, head or end_of(lines()))


def faults(chain: Chain) -> set[tuple[Fault, int]]:
    return {(defect.fault, defect.sequence) for defect in chain.defects}


def test_a_chain_is_proven_wherever_its_lines_stand() -> None:
    whole = lines()
    for kept in range(LENGTH + 1):
        chain = check(entries(whole[:kept]), whole[kept:])
        assert chain.proven, chain.defects
        assert [receipt["sequence"] for receipt in chain.receipts] == list(range(1, LENGTH + 1))
        assert chain.not_kept == frozenset(range(kept + 1, LENGTH + 1))


def test_lines_that_the_sink_and_the_outbox_hold_are_told_once() -> None:
    whole = lines()
    chain = check(entries(whole), whole[4:])
    assert chain.proven
    assert len(chain.receipts) == LENGTH
    assert chain.not_kept == frozenset()


def test_no_receipt_at_all_is_no_defect_of_a_new_release() -> None:
    assert verify(NAME, UID, ()).proven
    assert verify(NAME, UID, ()).open_intent is None


def test_other_keys_of_a_config_map_are_nobodys_receipts() -> None:
    note = Entry(segment_name(NAME, UID, 0), "note", "moved here by hand")
    assert check([note, *entries(lines())]).proven


def test_an_intent_at_the_end_waits_for_its_outcome() -> None:
    chain = verify(NAME, UID, entries(lines(4)))
    assert chain.proven
    assert chain.open_intent is not None
    assert chain.open_intent["sequence"] == 4


def forged(sequence: int, /, **members: Any) -> str:
    """A line with a hash of its own that is right, as somebody writes it who knows the format."""
    content = {**read(lines()[sequence - 1]), **members}
    content.pop("hash")
    return seal(content)[0]


def at(index: int, line: str) -> Callable[[Lines], list[Entry]]:
    return lambda whole: [entry(line) if place == index else entry(old) for place, old in enumerate(whole)]


def swapped(whole: Lines) -> list[Entry]:
    one, other = entry(whole[1]), entry(whole[2])
    return [
        *entries(whole[:1]),
        replace(one, line=other.line),
        replace(other, line=one.line),
        *entries(whole[3:]),
    ]


def rewritten_from(sequence: int) -> Callable[[Lines], list[Entry]]:
    """Somebody makes the rest of the chain anew, with every hash right."""

    def tamper(whole: Lines) -> list[Entry]:
        made = whole[: sequence - 1]
        head = end_of(made) if made else BEGINNING
        for line in whole[sequence - 1 :]:
            content = {**read(line), "message": "it was never like that", "previous": head.hash}
            content.pop("hash")
            new, head = seal(content)
            made.append(new)
        return entries(made)

    return tamper


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        pytest.param(lambda whole: entries(whole[:2] + whole[3:]), (Fault.GAP, 3), id="one is taken out"),
        pytest.param(lambda whole: entries(whole[2:]), (Fault.GAP, 1), id="the beginning is taken out"),
        pytest.param(lambda whole: entries(whole[:-2]), (Fault.GAP, LENGTH - 1), id="the end is taken out"),
        pytest.param(lambda _: [], (Fault.GAP, 1), id="everything is taken out"),
        pytest.param(
            lambda whole: [*entries(whole[1:]), Entry("x", key_of(1), whole[0].replace("phase", "Phase"))],
            (Fault.ALTERED, 1),
            id="a word is changed",
        ),
        pytest.param(at(2, forged(3, message="all was well")), (Fault.BROKEN, 4), id="one is made anew"),
        pytest.param(at(LENGTH - 1, forged(LENGTH, message="ok")), (Fault.FORK, LENGTH), id="the last is made anew"),
        pytest.param(rewritten_from(3), (Fault.FORK, LENGTH), id="the rest is made anew"),
        pytest.param(swapped, (Fault.MISPLACED, 2), id="two change places"),
        pytest.param(
            lambda whole: [*entries(whole), replace(entry(whole[0]), place="mc-receipts-6c1e0d5a-9")],
            (Fault.MISPLACED, 1),
            id="one is copied to another segment",
        ),
        pytest.param(
            lambda whole: [*entries(whole[:-1]), entry(lines(uid="another")[-1])],
            (Fault.FOREIGN, LENGTH),
            id="one is another release's",
        ),
        pytest.param(
            lambda whole: [*entries(whole), replace(entry(forged(2, message="or else")), place=OUTBOX)],
            (Fault.FORK, 2),
            id="two have one sequence",
        ),
        pytest.param(
            lambda whole: [*entries(whole), entry(forged(LENGTH, sequence=LENGTH + 1, previous=end_of(whole).hash))],
            (Fault.AHEAD, LENGTH + 1),
            id="the status was set back",
        ),
        pytest.param(at(4, forged(5, kind=Kind.PHASE)), (Fault.UNANSWERED, 5), id="an outcome is turned into a phase"),
        pytest.param(at(4, forged(5, intent=2)), (Fault.UNANSWERED, 5), id="an outcome answers another intent"),
        pytest.param(at(0, forged(1, previous="f" * 64)), (Fault.BROKEN, 1), id="something was before the first"),
    ],
)  # fmt: skip
def test_what_is_done_to_a_chain_is_found(
    tamper: Callable[[Lines], list[Entry]], found: tuple[Fault, int]
) -> None:
    chain = check(tamper(lines()))
    assert not chain.proven
    assert found in faults(chain), chain.defects
    assert all(defect.message and defect.mend for defect in chain.defects)


def test_an_altered_line_is_not_told_as_missing_too() -> None:
    whole = lines()
    stored = [*entries(whole[1:]), Entry(segment_name(NAME, UID, 0), key_of(1), whole[0] + " ")]
    assert faults(check(stored)) == {(Fault.ALTERED, 1)}


def test_a_damaged_line_in_the_outbox_is_told_by_its_place() -> None:
    whole = lines()
    chain = check(entries(whole[:5]), [whole[5].replace("phase", "PHASE"), whole[6]])
    assert faults(chain) == {(Fault.ALTERED, 6)}
    assert OUTBOX in chain.defects[0].message


def test_without_the_release_a_cut_end_is_not_seen() -> None:
    """A limit, and known as one: what is not signed can be cut off by whoever may write it."""
    assert verify(NAME, UID, entries(lines()[:-2])).proven


@pytest.mark.parametrize("kind", [Kind.FOLDED, Kind.RESUMED])
def test_what_says_that_something_is_untold_ends_an_intent_and_is_shown(kind: Kind) -> None:
    first = lines(4)
    content = {"uid": UID, "kind": kind, "sequence": 5, "previous": end_of(first).hash, "count": 3}
    line, head = seal(content)
    after, _ = seal({"uid": UID, "kind": Kind.OUTCOME, "sequence": 6, "previous": head.hash, "intent": 5})
    chain = verify(NAME, UID, entries([*first, line, after]))
    assert chain.proven, chain.defects
    assert [receipt["sequence"] for receipt in chain.interruptions] == [5]


@given(st.data())
def test_any_change_of_what_is_stored_is_found(data: st.DataObject) -> None:
    whole = lines()
    stored = entries(whole)
    index = data.draw(st.integers(0, LENGTH - 1), label="which")
    line = stored[index].line
    match data.draw(st.sampled_from(["drop", "alter", "cut", "copy", "move"]), label="how"):
        case "drop":
            changed = stored[:index] + stored[index + 1 :]
        case "alter":
            place = data.draw(st.integers(0, len(line) - 1))
            new = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda c: c != line[place]))
            changed = [*stored]
            changed[index] = replace(stored[index], line=line[:place] + new + line[place + 1 :])
        case "cut":
            changed = [*stored]
            changed[index] = replace(stored[index], line=line[: data.draw(st.integers(0, len(line) - 1))])
        case "copy":
            key = key_of(data.draw(st.integers(1, 2 * LENGTH).filter(lambda k: k != index + 1)))
            changed = [*stored, replace(stored[index], key=key)]
        case _:
            key = key_of(data.draw(st.integers(1, 2 * LENGTH).filter(lambda k: k != index + 1)))
            changed = [*stored]
            changed[index] = replace(stored[index], key=key)
    assert not check(changed).proven


def test_a_thousand_receipts_are_proven_in_a_moment() -> None:
    whole = lines(1000)
    chain = check(entries(whole), head=end_of(whole))
    assert chain.proven
    assert len(chain.receipts) == 1000
    assert {place.place for place in entries(whole)} == {
        segment_name(NAME, UID, number) for number in range(10)
    }
