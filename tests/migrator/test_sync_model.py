"""sync.toml as people may get it wrong: each fault is one sentence that names the field."""

import re

import pytest

from migrator.sync import parse_sync

WHOLE, FIRST = 'whole = "first"', '{ column = "first"'
GOOD = """
[[sync]]
table = "people"
key = ["id"]
old = "name"
format = "{first} {last}"
whole = "first"
new = [{ column = "first" }, { column = "last", absent = "" }]
"""


def test_a_good_file_is_read() -> None:
    [sync] = parse_sync(GOOD)
    assert (sync.prefix, sync.columns, sync.pieces, sync.total) == (
        "people_name",
        ("first", "last"),
        ("", "first", " ", "last", ""),
        True,
    )


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        ("[[sync]]", "[[sync]", "is not TOML"),
        ('whole = "first"', 'whoel = "first"', "sync.0.whoel: Extra inputs"),
        ('old = "name"', 'old = "id"', "id is named twice"),
        ('old = "name"', 'old = "na\\"me"', "sync.0.old"),
        ('format = "{first} {last}"', "", "`format` has to say"),
        ("{first} {last}", "{first}{last}", "nothing in between"),
        ("{first} {last}", "{first} {lost}", "name each new column once"),
        ("{first} {last}", "{first} {last} {last}", "name each new column once"),
        ("{first} {last}", "{first} { {last}", "a brace that belongs to no column"),
        ('whole = "first"', 'whole = "id"', "whole has to name one"),
        ('absent = ""', 'absent = "-"', "what is absent is ''"),
        ('column = "last",', 'column = "last", type = "integer",', "whole needs text"),
        (f"{WHOLE}\nnew = [{FIRST}", f"new = [{FIRST}, required = true", "first is required, but"),
        ('table = "people"', f'table = "{"p" * 60}"', "too long"),
        ("[[sync]]", GOOD + "[[sync]]", "two entries would both be called"),
        (FIRST, f'{FIRST}, type = "text; DROP TABLE t"', "sync.0.new.0.type"),
    ],
)  # fmt: skip
def test_a_fault_is_named(written: str, instead: str, said: str) -> None:
    assert written in GOOD
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_sync(GOOD.replace(written, instead, 1))


def test_times_with_and_without_a_zone_are_left_to_a_person() -> None:
    new = 'old_type = "timestamp"\nnew = [{column = "since", type = "timestamptz"}]'
    text = f'[[sync]]\ntable = "t"\nkey = ["id"]\nold = "at"\n{new}'
    with pytest.raises(ValueError, match="time zone"):
        parse_sync(text)
