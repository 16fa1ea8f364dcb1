"""`spec.preStopHook`: what holds the SIGTERM of a pod back while users may still come or wait for an answer."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from conductor.api.model import DnsLabel, Model, ShortText


class DrainHook(Model):
    path: ShortText
    port: int | DnsLabel


class DrainUntil(StrEnum):
    """What ends the hook before its time: that every connection is silent, or only that no new ones are sent here."""

    SILENCE = "Silence"
    SETTLED = "Settled"


class Waiter(Model):
    """A program that is copied into the pods and looks at their connections: for images without a shell."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    until: DrainUntil = DrainUntil.SILENCE
    settle_seconds: int = Field(default=3, ge=1, le=60)


class PreStopHook(Model):
    enabled: bool = True
    drain_seconds: int = Field(default=20, ge=1, le=600)
    http_get: DrainHook | None = None
    waiter: Waiter | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.waiter is None:
            return self
        if self.http_get is not None:
            raise ValueError(
                "has both httpGet and waiter; a container has one preStop hook, take one of them out"
            )
        if self.waiter.settle_seconds > self.drain_seconds:
            raise ValueError(
                f"waiter.settleSeconds {self.waiter.settle_seconds} is longer than drainSeconds {self.drain_seconds}, "
                "and the hook ends by then; lower settleSeconds or raise drainSeconds"
            )
        return self
