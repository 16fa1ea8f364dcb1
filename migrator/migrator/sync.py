"""`sync.toml`: which column becomes which columns, said in a file instead of written as triggers and batches.

    [[sync]]
    table = "executions"
    key = ["id"]                                  # the primary key, by which the backfill goes
    old = "owner"
    format = "{owner_name} <{owner_email}>"       # how the new columns make up the old one
    whole = "owner_name"                          # takes what is not of that form; the others are '' then

    [[sync.new]]
    column = "owner_name"
    required = true                               # NOT NULL at contract

    [[sync.new]]
    column = "owner_email"
    absent = ""                                   # stands in where the new version leaves it out
    required = true

One new column without a `format` is a rename, or a change of type.
"""

import re
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

_FIELD = re.compile(r"\{([^{}]*)\}")
_LONGEST_NAME = 63
_SUFFIX_ROOM = len("zzy__unfilled_99")
_TEXTS = re.compile(r"(text|varchar(\(\d+\))?|character varying(\(\d+\))?)\Z")

Name = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_NAME, pattern=r'^[^\x00"$]+$')]
TypeName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_. ]*(\([0-9]+(, ?[0-9]+)?\))?(\[\])?$")
]


class Unfit(StrEnum):
    """What becomes of a value of the old version that the new columns cannot hold without loss."""

    REFUSE = "refuse"
    """the write fails"""
    REPORT = "report"
    """the write goes through, and the row counts as divergence until somebody mends it"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class NewColumn(_Strict):
    column: Name
    type: TypeName = "text"
    absent: str | None = None
    """stands in where the new version gives another column of the same sync but not this one; its default after
    contract"""
    required: bool = False


class Sync(_Strict):
    """One old column and the new ones that say the same."""

    table: Name
    schema_name: Name = Field("public", alias="schema")
    key: tuple[Name, ...] = Field(min_length=1)
    old: Name
    old_type: TypeName = "text"
    new: tuple[NewColumn, ...] = Field(min_length=1, max_length=99)
    format: Annotated[str, StringConstraints(min_length=1)] | None = None
    whole: Name | None = None
    old_unfit: Unfit = Unfit.REPORT
    """users of the old version come first; what the new version writes and the old column cannot hold is always
    refused, since the new version can still be mended"""
    name: Name | None = None
    """begins the names of functions and triggers; `<table>_<old>` where it is left out"""

    @property
    def prefix(self) -> str:
        return self.name or f"{self.table}_{self.old}"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(new.column for new in self.new)

    @property
    def pieces(self) -> tuple[str, ...]:
        """The format taken apart: literal, column, literal, column, ..., literal."""
        return tuple(_FIELD.split(self.format if self.format is not None else f"{{{self.new[0].column}}}"))

    @property
    def total(self) -> bool:
        """Whether every value of the old column has a place in the new ones."""
        return self.whole is not None or (
            len(self.new) == 1
            and self.new[0].type.lower() == "text"
            and self.pieces == ("", self.columns[0], "")
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*self.columns, self.old, *self.key]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"{doubled[0]} is named twice among key, old and new columns")
        if len(self.prefix.encode()) > _LONGEST_NAME - _SUFFIX_ROOM:
            raise ValueError(
                f"the name {self.prefix} is too long for PostgreSQL with its suffixes: give a shorter `name`"
            )
        self._check_format()
        if self.whole is not None:
            self._check_whole()
        kinds = {is_zoned(self.old_type), *(is_zoned(new.type) for new in self.new)} - {None}
        if len(kinds) > 1:
            raise ValueError("a time with and a time without zone say the same only in one session's time zone: "
                             "write expand.sql by hand, and name the zone there")  # fmt: skip
        for new in self.new:
            if new.required and not self.total and self.old_unfit is Unfit.REPORT:
                raise ValueError(
                    f"{new.column} is required, but what the old version writes may not fit it: "
                    'name a column in `whole` that takes it, or set old_unfit = "refuse"'
                )
        return self

    def _check_format(self) -> None:
        if self.format is None and len(self.new) > 1:
            raise ValueError("with several new columns `format` has to say how they make up the old one")
        literals, fields = self.pieces[::2], self.pieces[1::2]
        if sorted(fields) != sorted(self.columns):
            raise ValueError(
                f"format has to name each new column once, in braces: it names {', '.join(fields) or 'none'}"
            )
        if any("{" in literal or "}" in literal for literal in literals):
            raise ValueError("format has a brace that belongs to no column")
        if any(not literal for literal in literals[1:-1]):
            raise ValueError("format has two columns with nothing in between: nobody can tell where one ends")
        if "\x00" in (self.format or "") or "$sync$" in (self.format or ""):
            raise ValueError("format holds what cannot stand in a function's body (NUL, or $sync$)")

    def _check_whole(self) -> None:
        if self.whole not in self.columns or len(self.new) == 1:
            raise ValueError("whole has to name one of several new columns")
        for new in self.new:
            if not is_text(new.type):
                raise ValueError(f"whole needs text in every new column, {new.column} is {new.type}")
            if new.column != self.whole and new.absent not in ("", None):
                raise ValueError(f"{new.column}: with whole, what is absent is '' and nothing else")


class SyncFile(_Strict):
    sync: tuple[Sync, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        prefixes = [f"{sync.schema_name}.{sync.prefix}" for sync in self.sync]
        doubled = sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1})
        if doubled:
            raise ValueError(f"two entries would both be called {doubled[0]}: give one a `name`")
        touched = [
            (sync.schema_name, sync.table, column)
            for sync in self.sync
            for column in (*sync.columns, sync.old)
        ]
        shared = sorted({place for place in touched if touched.count(place) > 1})
        if shared:
            raise ValueError(f"{'.'.join(shared[0])} stands in two entries; one column, one entry")
        return self


def is_zoned(type_name: str) -> bool | None:
    """None where the type tells no time of a day."""
    lowered = type_name.lower()
    if lowered.startswith(("timestamptz", "timetz")) or lowered.endswith("with time zone"):
        return True
    return False if lowered.startswith(("timestamp", "time", "date")) else None


def is_text(type_name: str) -> bool:
    """Whether every string can be cast to it without an error."""
    return _TEXTS.match(type_name.lower()) is not None


def parse_sync(text: str) -> Sequence[Sync]:
    """Raise ValueError with one sentence that names the field."""
    try:
        return SyncFile.model_validate(tomllib.loads(text)).sync
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
