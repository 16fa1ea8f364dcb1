"""`spec.traffic`: how users are led, in which shares, by what they come in, and which limits a version must keep."""

import re
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from conductor.api.durations import Duration
from conductor.api.model import Colour, Model, ObjectName, ServiceName


class NoDataPolicy(StrEnum):
    WAIT = "Wait"
    ROLLBACK = "Rollback"


class SwitchHealth(Model):
    """Limits that a version must keep. Latency in milliseconds, rates as fractions of 1."""

    error_rate: float = Field(default=0.01, gt=0, lt=1)
    p95_latency_ms: float = Field(default=900, gt=0, le=600_000)
    window: Duration = timedelta(seconds=60)
    miss_rate: float = Field(default=0.001, gt=0, lt=1)
    no_data: NoDataPolicy = NoDataPolicy.WAIT

    @field_validator("window")
    @classmethod
    def _window_bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=10) <= value <= timedelta(hours=1):
            raise ValueError("is outside of 10s to 1h; choose a window that holds several scrapes")
        return value


class RampStep(Model):
    weight: int = Field(ge=1, le=99)
    hold: Duration = timedelta(seconds=30)


class TrafficProvider(StrEnum):
    SERVICE = "Service"
    GATEWAY_API = "GatewayAPI"


class Consistency(StrEnum):
    FAST = "Fast"
    STRICT = "Strict"


class Route(Model):
    """An HTTPRoute of the release's namespace that leads users to Services of the release."""

    name: ObjectName


#: Set or read by proxies themselves: a rule that asks for one would take in requests that nobody marked.
_NO_MARKS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)


class PreviewHeader(Model):
    """A header by which requests ask for the candidate."""

    name: Annotated[str, StringConstraints(max_length=64)]
    value: Annotated[str, StringConstraints(max_length=128)]

    @field_validator("name")
    @classmethod
    def _a_header_of_ones_own(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", value):
            raise ValueError("is no name of a header; use letters, digits and dashes, like X-Preview")
        if value.lower() == "cookie":
            raise ValueError("is how cookies are sent; give spec.traffic.preview.cookie in place of header")
        if value.lower() in _NO_MARKS or value.lower().startswith("x-forwarded-"):
            raise ValueError(
                "is set by proxies on requests of everybody; name a header of your own, like X-Preview"
            )
        return value

    @field_validator("value")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
            raise ValueError("is no plain word; use letters, digits and . _ ~ -, like candidate")
        return value


class PreviewCookie(Model):
    """A cookie by which requests ask for the candidate."""

    name: Annotated[str, StringConstraints(max_length=64)]
    value: Annotated[str, StringConstraints(max_length=128)]

    @field_validator("name", "value")
    @classmethod
    def _means_itself(cls, value: str) -> str:
        """It becomes part of a regular expression, in whatever dialect a Gateway has."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            raise ValueError(
                "is no plain word; use letters, digits, - and _, which every Gateway reads alike"
            )
        return value


class Preview(Model):
    """By what requests through a Gateway ask for the candidate before it is switched to."""

    header: PreviewHeader | None = None
    cookie: PreviewCookie | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.header is None) is (self.cookie is None):
            given = "neither" if self.header is None else "both"
            raise ValueError(f"has {given} of header and cookie; give exactly one of them")
        return self


class Traffic(Model):
    current: Colour = Colour.BLUE
    provider: TrafficProvider = TrafficProvider.SERVICE
    routes: tuple[Route, ...] = Field(default=(), max_length=16)
    preview: Preview | None = None
    consistency: Consistency = Consistency.FAST
    #: With Strict: the one Service by which users come in. With GatewayAPI it is the route.
    edge: ServiceName | None = None
    config_map: ServiceName | None = None
    switch_health: SwitchHealth = SwitchHealth()
    ramp: tuple[RampStep, ...] = Field(default=(), max_length=20)

    @field_validator("ramp")
    @classmethod
    def _ramp_rises(cls, value: tuple[RampStep, ...]) -> tuple[RampStep, ...]:
        weights = [step.weight for step in value]
        for before, after in pairwise(weights):
            if after <= before:
                raise ValueError(
                    f"weights fall from {before} to {after}; each step must be greater than the one before"
                )
        return value

    @model_validator(mode="after")
    def _routes_and_provider(self) -> Self:
        names = [route.name for route in self.routes]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"routes names HTTPRoute {min(repeated)} twice; name each route once")
        if self.provider is TrafficProvider.GATEWAY_API and not names:
            raise ValueError(
                "routes is empty, and provider is GatewayAPI; name the HTTPRoutes that lead users to this release's "
                "Services, or set provider to Service"
            )
        if self.provider is TrafficProvider.SERVICE and names:
            raise ValueError(
                f"routes names {names[0]}, and provider is Service, which moves no route; set provider to GatewayAPI, "
                "or take routes out"
            )
        if self.provider is TrafficProvider.SERVICE and self.preview is not None:
            raise ValueError(
                "preview is given, and provider is Service, which sees no requests; set provider to GatewayAPI, or "
                "take preview out and ask through the Service SERVICE-preview"
            )
        return self

    @model_validator(mode="after")
    def _one_edge(self) -> Self:
        if self.consistency is not Consistency.STRICT:
            if self.edge is not None:
                raise ValueError(
                    f"edge names {self.edge}, and consistency is {self.consistency}, which has none; set consistency "
                    "to Strict, or take edge out"
                )
            return self
        if self.provider is TrafficProvider.GATEWAY_API and self.edge is not None:
            raise ValueError(
                f"edge names {self.edge}, and provider is GatewayAPI, where the route is the edge; take edge out"
            )
        if len(self.routes) > 1:
            raise ValueError(
                f"routes names {', '.join(route.name for route in self.routes)}, and with consistency Strict one "
                "object leads users; put their rules into one HTTPRoute, or set consistency to Fast"
            )
        return self
