"""What the control plane keeps: executions, their owners, and the check of what users send."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

_OWNER = re.compile(r"(?P<name>[^<>\s](?:[^<>]*[^<>\s])?)\s+<(?P<email>[^<>@\s]+@[^<>@\s]+)>")
# PostgreSQL's text holds no NUL, and no name needs any other control character.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST = {"id": 45, "tenant": 100, "owner": 300, "name": 300}


class InputError(Exception):
    """Something a user sent cannot be used: names the field, the value and the mend."""

    def __init__(self, field: str, value: object, mend: str) -> None:
        self.field = field
        self.value = _shown(value)
        self.mend = mend
        super().__init__(f"{field} is {self.value}: {mend}")


@dataclass(frozen=True, slots=True)
class Owner:
    name: str
    email: str

    @classmethod
    def parse(cls, text: str) -> "Owner":
        match = _OWNER.fullmatch(text)
        if match is None:
            raise InputError("owner", text, "write it as in 'Ada Lovelace <ada@example.org>'")
        return cls(match["name"], match["email"])

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True, slots=True)
class Publication:
    """An execution as a user publishes it."""

    id: UUID
    tenant: str
    owner: Owner
    name: str
    denied: bool = False

    @classmethod
    def parse(cls, body: bytes) -> "Publication":
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise InputError("body", body[:80], f"send a JSON object ({error})") from None
        if not isinstance(fields, dict):
            raise InputError("body", fields, "send a JSON object with id, tenant, owner and name")
        surplus = sorted(fields.keys() - {"id", "tenant", "owner", "name", "deny"})
        if surplus:
            raise InputError(
                surplus[0], fields[surplus[0]], "leave out what is not id, tenant, owner, name or deny"
            )
        return cls(
            id=parse_id(check_text("id", fields.get("id"))),
            tenant=check_text("tenant", fields.get("tenant")),
            owner=Owner.parse(check_text("owner", fields.get("owner"))),
            name=check_text("name", fields.get("name")),
            denied=_flag(fields, "deny"),
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as it is kept."""

    id: UUID
    tenant: str
    owner: str
    name: str
    denied: bool
    state: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def is_of(self, publication: Publication) -> bool:
        return (self.tenant, self.owner, self.name, self.denied) == (
            publication.tenant,
            str(publication.owner),
            publication.name,
            publication.denied,
        )

    def as_json(self) -> dict[str, object]:
        return {
            "id": str(self.id),
            "tenant": self.tenant,
            "owner": self.owner,
            "name": self.name,
            "deny": self.denied,
            "state": self.state,
            "created_at": self.created_at.isoformat(),
            "started_at": self.started_at and self.started_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
        }


def parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError("id", text, "give a UUID, like 6fa459ea-ee8a-4ca4-894e-db77e160355e") from None


def check_text(field: str, value: object) -> str:
    """The value, if it is a text that can be kept as this field."""
    longest = _LONGEST[field]
    if not isinstance(value, str) or not value.strip():
        raise InputError(field, value, "give a text that is not empty")
    if len(value) > longest:
        raise InputError(field, value, f"use at most {longest} characters")
    if _CONTROL.search(value):
        raise InputError(field, value, "leave out control characters")
    return value


def _flag(fields: Mapping[str, object], field: str) -> bool:
    value = fields.get(field, False)
    if not isinstance(value, bool):
        raise InputError(field, value, "give true or false")
    return value


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
