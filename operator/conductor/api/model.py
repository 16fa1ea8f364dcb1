"""What all models of the API are made of: their base, the kinds of text in them, the colours."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DNS_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=40)]
ObjectName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
ServiceName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=55)]
Text = Annotated[str, StringConstraints(max_length=2048)]
ShortText = Annotated[str, StringConstraints(max_length=253)]


class Model(BaseModel):
    """Frozen, camelCase outside, and strict: a field that we do not know is an error, not a loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Colour(StrEnum):
    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> "Colour":
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE
