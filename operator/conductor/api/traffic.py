"""`spec.traffic`: how users are led, in which shares, by what they come in, and which limits a version must keep."""

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Self

from pydantic import Field, field_validator, model_validator

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


class Traffic(Model):
    current: Colour = Colour.BLUE
    provider: TrafficProvider = TrafficProvider.SERVICE
    routes: tuple[Route, ...] = Field(default=(), max_length=16)
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
