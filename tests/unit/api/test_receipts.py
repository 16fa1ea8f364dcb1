"""The written form of receipts: the same content gives the same bytes, and no byte of a line can be changed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor.api.receipts import (
    BEGINNING,
    GENESIS,
    LINE_BYTES,
    SEGMENT_LINES,
    LineError,
    bounded,
    canonical,
    key_of,
    link,
    read,
    seal,
    segment_labels,
    segment_name,
    segment_of,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", min_size=1, max_size=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
VALUES = TEXT | st.integers(min_value=0, max_value=2**53 - 1)
CONTENTS = st.dictionaries(NAMES, VALUES, max_size=8).map(
    lambda content: {**content, "sequence": 7, "previous": GENESIS}
)


def test_strings_are_written_as_the_rfc_writes_them() -> None:
    # The string of RFC 8785, section 3.2.2, and its canonical form in section 3.2.4.
    given_form = json.loads(r'"\u20ac$\u000F\u000aA' + r"'" + r'\u0042\u0022\u005c\\\"\/"')
    assert canonical({"string": given_form}) == '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'


def test_members_are_sorted_and_nothing_is_between_them() -> None:
    assert canonical({"uid": "1", "at": "2", "sequence": 3}) == '{"at":"2","sequence":3,"uid":"1"}'


def test_a_string_that_is_no_unicode_text_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical({"message": "\ud800"})


@given(CONTENTS, st.randoms())
def test_the_order_of_members_changes_no_byte(content: dict[str, Any], chance: Any) -> None:
    members = list(content.items())
    chance.shuffle(members)
    assert seal(dict(members)) == seal(content)


@given(CONTENTS)
def test_what_was_sealed_is_read_as_it_was(content: dict[str, Any]) -> None:
    content.pop("hash", None)
    line, place = seal(content)
    assert read(line) == {**content, "hash": place.hash}
    assert link(line) == place


@given(CONTENTS, st.data())
def test_no_character_of_a_line_can_be_changed(content: dict[str, Any], data: st.DataObject) -> None:
    line, _ = seal(content)
    index = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda found: found != line[index]))
    with pytest.raises(LineError):
        read(line[:index] + other + line[index + 1 :])


@given(CONTENTS, st.data())
def test_no_character_can_be_taken_out_or_put_in(content: dict[str, Any], data: st.DataObject) -> None:
    line, _ = seal(content)
    index = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(LineError):
        read(line[:index] + line[index + 1 :])
    with pytest.raises(LineError):
        read(line[:index] + data.draw(st.sampled_from(' "\n0a\\,')) + line[index:])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"sequence":true}',
        '{"sequence":1.0}',
        '{"sequence":NaN}',
        '{"sequence":1,"sequence":1}',
        seal({"sequence": 1})[0],
        seal({"sequence": True, "previous": GENESIS})[0],
        "[" * 1000,
        '{"sequence":1,"message":"' + "x" * LINE_BYTES + '"}',
        '{"message":"\ud800","sequence":1}',
    ],
)
def test_what_is_no_receipt_is_refused_in_words(line: str) -> None:
    with pytest.raises(LineError, match=r"^(is|does) "):
        read(line)


def test_members_that_this_version_does_not_know_count_as_well() -> None:
    line, _ = seal({"sequence": 1, "previous": GENESIS, "signature": "of a later version"})
    assert read(line)["signature"] == "of a later version"
    with pytest.raises(LineError):
        read(line.replace("later", "other"))


@given(st.text(max_size=300), st.integers(12, 200))
def test_a_bounded_text_fits_and_says_that_it_was_cut(text: str, limit: int) -> None:
    short = bounded(text, limit)
    assert len(json.dumps(short, ensure_ascii=False).encode()) - 2 <= limit
    whole = text.encode(errors="replace").decode()
    assert short == whole or (short.endswith("…") and whole.startswith(short[:-1]))


def test_segments_follow_one_another() -> None:
    assert [segment_of(sequence) for sequence in (1, SEGMENT_LINES, SEGMENT_LINES + 1)] == [0, 0, 1]
    assert key_of(9) < key_of(10) < key_of(100)
    uid = "6c1e0d5a-1111-2222-3333-444455556666"
    assert segment_name("mc", uid, 3) == "mc-receipts-6c1e0d5a-3"
    longest = segment_name("m" * 40, uid, 10**6)
    assert len(longest) <= 253
    assert all(len(value) <= 63 for value in segment_labels("m" * 40, uid).values())


def test_a_full_segment_is_far_below_what_a_config_map_may_hold() -> None:
    assert SEGMENT_LINES * (LINE_BYTES + len(key_of(1))) < 700 * 1024


def test_a_chain_begins_with_nothing() -> None:
    assert (0, GENESIS) == BEGINNING
    assert len(GENESIS) == 64
