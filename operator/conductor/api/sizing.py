"""How many pods there are: autoscaling and disruption budget of a component, and what an upgrade adds to both.

In the words of Kubernetes' own objects (autoscaling/v2, policy/v1). What is free in there is checked by dry-run.
"""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from conductor.api.model import Model

LARGEST = 1000
#: As Kubernetes' own IntOrString: a number of pods, or a share of them.
Percent = Annotated[str, StringConstraints(pattern=r"^([0-9]|[1-9][0-9]|100)%$", max_length=4)]
PodCount = Annotated[int, Field(ge=0, le=LARGEST)]
Free = dict[str, Any]


class Autoscaling(Model):
    """The HorizontalPodAutoscaler of each revision's Deployment."""

    min_replicas: int = Field(default=1, ge=1, le=LARGEST)
    max_replicas: int = Field(ge=1, le=LARGEST)
    target_cpu_utilization_percentage: int | None = Field(
        default=None, ge=1, le=10_000, alias="targetCPUUtilizationPercentage"
    )
    metrics: tuple[Free, ...] = Field(default=(), max_length=16)
    behavior: Free | None = None

    @field_validator("behavior")
    @classmethod
    def _rules_are_objects(cls, value: Free | None) -> Free | None:
        # Read by us, to hold them in an upgrade; whatever else stands there is the API server's to judge.
        for side in ("scaleUp", "scaleDown"):
            rules = (value or {}).get(side)
            if rules is not None and not isinstance(rules, dict):
                raise ValueError(f"{side} is {rules!r} and not an object; give it policies, or take it out")
        return value

    @model_validator(mode="after")
    def _bounds_and_measure(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"minReplicas {self.min_replicas} is more than maxReplicas {self.max_replicas}; lower one or raise the "
                "other"
            )
        if bool(self.metrics) == (self.target_cpu_utilization_percentage is not None):
            raise ValueError("needs either metrics or targetCPUUtilizationPercentage; give one of them")
        return self

    def must_hold(self, replicas: int) -> None:
        """Raises ValueError where a component of so many replicas would begin out of bounds."""
        if not self.min_replicas <= replicas <= self.max_replicas:
            raise ValueError(
                f"replicas {replicas} is outside of autoscaling.minReplicas {self.min_replicas} to maxReplicas "
                f"{self.max_replicas}; take replicas out, or choose one between them"
            )


def with_least(component: Any) -> Any:
    """A component as given; where it is autoscaled and says no replicas, it begins with the least."""
    if not isinstance(component, dict) or "replicas" in component:
        return component
    scaled = component.get("autoscaling")
    least = scaled.get("minReplicas") if isinstance(scaled, dict) else None
    begins = isinstance(least, int) and 1 <= least <= LARGEST
    return {**component, "replicas": least} if begins else component


class DisruptionBudget(Model):
    """The PodDisruptionBudget of each revision's pods."""

    min_available: PodCount | Percent | None = None
    max_unavailable: PodCount | Percent | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.min_available is None) == (self.max_unavailable is None):
            raise ValueError("needs either minAvailable or maxUnavailable; give exactly one of them")
        return self


class SurgeNodes(StrEnum):
    PRESENT = "Present"
    ON_DEMAND = "OnDemand"


class PrePull(Model):
    """The candidate's images onto every node where its pods may run. `image`: of the waiter, which runs in each."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class Surge(Model):
    """Both colours side by side. `pin`: no autoscaler of ours makes either smaller meanwhile. `nodes`: whether those
    that are there must have room for both, or more come when pods ask for them."""

    pin: bool = True
    nodes: SurgeNodes = SurgeNodes.PRESENT
    pre_pull: PrePull | None = None
