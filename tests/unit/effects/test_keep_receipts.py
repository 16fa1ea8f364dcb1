"""Receipts are inserted where nothing else stands: again and again, by two at once, over many segments."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.effects.memory_api import MemoryKube, Moment, Write

from conductor.adapters.kube import ApiError, ConflictError
from conductor.api import names
from conductor.api.receipts import (
    BEGINNING,
    SEGMENT_LINES,
    LineError,
    key_of,
    link,
    seal,
    segment_labels,
    segment_name,
)
from conductor.domain.chain import Entry, verify
from conductor.effects.keep_receipts import (
    ChainId,
    ForeignSegmentError,
    ForkedError,
    find_head,
    keep_receipts,
)

UID = "6c1e0d5a-1111-2222-3333-444455556666"
CHAIN = ChainId("prod", "mc", UID)
FIRST = segment_name("mc", UID, 0)


def lines(length: int, message: str = "", after: Sequence[str] = ()) -> list[str]:
    made, head = list(after), link(after[-1]) if after else BEGINNING
    for sequence in range(head.sequence + 1, length + 1):
        content = {"uid": UID, "sequence": sequence, "previous": head.hash, "message": message}
        line, head = seal(content)
        made.append(line)
    return made


def kept(kube: MemoryKube) -> list[Entry]:
    found = kube.list("ConfigMap", "prod", f"{names.LABEL_RELEASE_UID}={UID}")
    return [
        Entry(item["metadata"]["name"], key, line) for item in found for key, line in item["data"].items()
    ]


def holds(kube: MemoryKube, whole: Sequence[str]) -> bool:
    entries = kept(kube)
    return verify("mc", UID, entries, head=link(whole[-1])).proven and len(entries) == len(whole)


def writes(kube: MemoryKube) -> list[str]:
    return [write.verb for write in kube.writes]


def test_what_is_there_already_is_not_written_again() -> None:
    kube, whole = MemoryKube(), lines(5)
    for _ in range(3):
        keep_receipts(kube, CHAIN, whole, None)
    assert writes(kube) == ["create"]
    assert holds(kube, whole)


def test_a_segment_that_is_known_is_not_read_again() -> None:
    kube, whole = MemoryKube(), lines(3)
    known = keep_receipts(kube, CHAIN, whole[:1], None)
    kube.get = None  # type: ignore[assignment,method-assign]
    known = keep_receipts(kube, CHAIN, whole[1:2], known)
    keep_receipts(kube, CHAIN, whole[2:], known)
    assert writes(kube) == ["create", "patch", "patch"]
    assert holds(kube, whole)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.booleans(), st.data())
@settings(max_examples=30, deadline=None)
def test_however_they_come_they_are_kept_once(sizes: list[int], remembers: bool, data: st.DataObject) -> None:
    """In batches of any size, with some of the former lines among them."""
    kube, whole = MemoryKube(), lines(sum(sizes))
    known, end = None, 0
    for size in sizes:
        begin, end = data.draw(st.integers(max(0, end - 5), end)), end + size
        answer = keep_receipts(kube, CHAIN, whole[begin:end], known)
        known = answer if remembers else None
    assert holds(kube, whole)


def test_a_thousand_receipts_fill_ten_segments_which_nobody_can_change_then() -> None:
    kube, whole, known = MemoryKube(), lines(1000), None
    for index in range(0, 1000, 3):
        known = keep_receipts(kube, CHAIN, whole[index : index + 3], known)
    assert known is not None
    assert not known.lost
    assert holds(kube, whole)
    segments = kube.list("ConfigMap", "prod")
    assert [len(item["data"]) for item in segments] == [SEGMENT_LINES] * 10
    assert all(item["immutable"] for item in segments)
    assert all(item["metadata"]["labels"] == segment_labels("mc", UID) for item in segments)
    assert not any("ownerReferences" in item["metadata"] for item in segments)
    assert find_head(kube, CHAIN) == link(whole[-1])
    with pytest.raises(ApiError, match="immutable"):
        kube.patch(
            "ConfigMap", "prod", FIRST, [{"op": "replace", "path": f"/data/{key_of(1)}", "value": "x"}]
        )


def test_a_segment_in_progress_is_not_sealed() -> None:
    kube = MemoryKube()
    keep_receipts(kube, CHAIN, lines(SEGMENT_LINES - 1), None)
    assert "immutable" not in kube.list("ConfigMap", "prod")[0]


def test_two_leaders_insert_the_same_receipts_without_a_fork() -> None:
    """The former one has a patch in its hand; the status serialised what both of them insert."""
    kube, whole = MemoryKube(), lines(6)
    old = keep_receipts(kube, CHAIN, whole[:2], None)
    new = keep_receipts(kube, CHAIN, whole[:4], None)
    keep_receipts(kube, CHAIN, whole[2:4], old)
    keep_receipts(kube, CHAIN, whole[4:], new)
    keep_receipts(kube, CHAIN, whole[2:5], old)
    assert holds(kube, whole)


def test_somebody_who_labels_the_config_map_disturbs_nobody() -> None:
    kube, whole = MemoryKube(), lines(4)
    known = keep_receipts(kube, CHAIN, whole[:2], None)
    kube.edit("ConfigMap", "prod", FIRST, {"metadata": {"labels": {"team": "audit"}}})
    keep_receipts(kube, CHAIN, whole[2:], known)
    assert holds(kube, whole)


def test_another_receipt_at_a_sequence_is_a_fork_and_stays_as_it_is() -> None:
    kube, whole = MemoryKube(), lines(4)
    other = lines(4, "or was it", after=whole[:2])
    keep_receipts(kube, CHAIN, other[:3], None)
    before = kube.list("ConfigMap", "prod")
    with pytest.raises(ForkedError, match=key_of(3)):
        keep_receipts(kube, CHAIN, whole[2:], None)
    assert kube.list("ConfigMap", "prod") == before


def test_what_is_remembered_never_writes_over_another_receipt() -> None:
    """A status that was set back makes other receipts: a JSON patch would replace what stands there."""
    kube, whole = MemoryKube(), lines(5)
    known = keep_receipts(kube, CHAIN, whole, None)
    other = lines(5, "once more", after=whole[:3])
    with pytest.raises(ForkedError):
        keep_receipts(kube, CHAIN, other[3:], known)
    assert holds(kube, whole)


def test_a_receipt_ahead_of_us_is_a_fork_once_we_come_to_it() -> None:
    """It may be a newer leader's, of which an older one knows nothing; or somebody's who knows the format."""
    kube, whole = MemoryKube(), lines(4)
    known = keep_receipts(kube, CHAIN, whole[:1], None)
    forged = lines(3, "forged", after=whole[:2])[2]
    kube.edit("ConfigMap", "prod", FIRST, {"data": {key_of(3): forged}})
    known = keep_receipts(kube, CHAIN, whole[1:2], known)
    with pytest.raises(ForkedError, match=key_of(3)):
        keep_receipts(kube, CHAIN, whole[2:], known)
    assert kube.list("ConfigMap", "prod")[0]["data"][key_of(3)] == forged


def test_a_receipt_that_follows_another_one_than_is_kept_is_a_fork() -> None:
    kube, whole = MemoryKube(), lines(3)
    keep_receipts(kube, CHAIN, lines(2, "or was it"), None)
    with pytest.raises(ForkedError, match=key_of(2)):
        keep_receipts(kube, CHAIN, whole[2:], None)


def test_a_segment_that_somebody_deleted_is_made_anew_and_the_gap_stays_for_all_to_see() -> None:
    kube, whole = MemoryKube(), lines(5)
    known = keep_receipts(kube, CHAIN, whole[:3], None)
    kube.drop("ConfigMap", "prod", FIRST)
    assert not known.lost
    assert keep_receipts(kube, CHAIN, whole[3:], known).lost
    (defect,) = verify("mc", UID, kept(kube), head=link(whole[-1])).defects
    assert defect.message == "receipts 1 to 3 are missing"


def test_a_segment_that_was_emptied_is_filled_again() -> None:
    kube, whole = MemoryKube(), lines(3)
    known = keep_receipts(kube, CHAIN, whole[:1], None)
    kube.put("ConfigMap", "prod", {"metadata": {"name": FIRST, "labels": segment_labels("mc", UID)}})
    keep_receipts(kube, CHAIN, whole, known)
    assert holds(kube, whole)


def test_a_config_map_of_somebody_else_is_not_touched() -> None:
    kube = MemoryKube()
    kube.put("ConfigMap", "prod", {"metadata": {"name": FIRST}, "data": {"mine": "yes"}})
    before = kube.list("ConfigMap", "prod")
    with pytest.raises(ForeignSegmentError, match=FIRST):
        keep_receipts(kube, CHAIN, lines(1), None)
    assert kube.list("ConfigMap", "prod") == before


def test_a_damaged_line_is_not_brought_anywhere() -> None:
    kube, whole = MemoryKube(), lines(2)
    with pytest.raises(LineError):
        keep_receipts(kube, CHAIN, [whole[0], whole[1].replace("sequence", "Sequence")], None)
    assert writes(kube) == []


def test_writers_that_never_let_us_in_end_in_a_conflict() -> None:
    kube = MemoryKube()

    def storm(moment: Moment, write: Write) -> None:
        if moment == "before" and write.verb == "patch":
            raise ConflictError(409, "Conflict", "the object has been modified")

    whole = lines(2)
    keep_receipts(kube, CHAIN, whole[:1], None)
    kube.fault = storm
    with pytest.raises(ConflictError):
        keep_receipts(kube, CHAIN, whole[1:], None)


def test_the_end_of_nothing_is_the_beginning() -> None:
    kube = MemoryKube()
    assert find_head(kube, CHAIN) == BEGINNING
    keep_receipts(kube, ChainId("prod", "mc", "another-uid"), lines(2), None)
    assert find_head(kube, CHAIN) == BEGINNING


def test_an_end_that_cannot_be_read_is_no_end() -> None:
    kube, whole = MemoryKube(), lines(2)
    keep_receipts(kube, CHAIN, whole, None)
    kube.edit("ConfigMap", "prod", FIRST, {"data": {key_of(2): whole[1] + " "}})
    with pytest.raises(ForkedError, match=key_of(2)):
        find_head(kube, CHAIN)
