"""What a user asks for: `spec` of a ControlPlaneRelease, as pydantic models.

The CRD's schema is generated from these models (`conductor.api.crd`), so a bound written here
holds at admission as well as in the operator.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from conductor.api import sizing
from conductor.api.durations import Duration, format_duration
from conductor.api.model import Colour, DnsLabel, Model, ServiceName, ShortText, Text
from conductor.api.names import colour_service_name
from conductor.api.pre_stop import PreStopHook
from conductor.api.sizing import LARGEST, Autoscaling, DisruptionBudget, Surge
from conductor.api.template import PodTemplate
from conductor.api.traffic import Consistency, NoDataPolicy, SwitchHealth, Traffic, TrafficProvider

#: https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string, without build metadata
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"


def semantic(version: str) -> str:
    """The version itself. Raises ValueError for one that is not semantic."""
    if not re.fullmatch(SEMVER.strip("^$"), version):
        raise ValueError("is not a semantic version; write MAJOR.MINOR.PATCH like 1.4.0 or 1.4.0-rc.1")
    return version


class ServicePort(Model):
    name: DnsLabel
    port: int = Field(ge=1, le=65535)
    target_port: int | DnsLabel | None = None


class ComponentService(Model):
    name: ServiceName
    ports: tuple[ServicePort, ...] = Field(min_length=1, max_length=16)


class Handover(StrEnum):
    EXCLUSIVE = "Exclusive"
    OVERLAP = "Overlap"


class Component(Model):
    name: DnsLabel
    #: Without it, and autoscaled: minReplicas.
    replicas: int = Field(default=1, ge=1, le=LARGEST)
    autoscaling: Autoscaling | None = None
    disruption_budget: DisruptionBudget | None = None
    handover: Handover | None = None
    services: tuple[ComponentService, ...] = Field(default=(), max_length=8)
    template: PodTemplate

    @model_validator(mode="before")
    @classmethod
    def _begins_with_the_least(cls, given: Any) -> Any:
        return sizing.with_least(given)

    @model_validator(mode="after")
    def _begins_within_bounds(self) -> Self:
        if self.autoscaling is not None:
            self.autoscaling.must_hold(self.replicas)
        return self

    @model_validator(mode="after")
    def _services_or_handover(self) -> Self:
        if self.services and self.handover is not None:
            raise ValueError(
                "has both services and handover; handover is for components without services, remove one"
            )
        return self

    @property
    def effective_handover(self) -> Handover | None:
        """How a component without services changes hands; None for one with services."""
        return None if self.services else (self.handover or Handover.EXCLUSIVE)


class HttpCheck(Model):
    """A request that the candidate must answer, through its preview Service and after the switch."""

    component: DnsLabel
    service: ServiceName
    port: DnsLabel
    method: Literal["GET", "HEAD", "POST"] = "GET"
    path: Text = "/"
    body: Text | None = None
    expect_status: int = Field(default=200, ge=100, le=599)
    version_header: ShortText | None = None
    version_json: ShortText | None = None


class Verification(Model):
    http: tuple[HttpCheck, ...] = Field(default=(), max_length=16)


class AdoptedDeployment(Model):
    """A Deployment that runs already and is to be taken over as one component."""

    component: DnsLabel
    name: ShortText


class Adoption(Model):
    """Consent to take over what runs: these Deployments, and those of the components' Services that are there."""

    version: Annotated[str, StringConstraints(max_length=64)]
    deployments: tuple[AdoptedDeployment, ...] = Field(min_length=1, max_length=16)

    @field_validator("version")
    @classmethod
    def _semver(cls, value: str) -> str:
        return semantic(value)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field in ("component", "name"):
            named = [getattr(item, field) for item in self.deployments]
            if repeated := {name for name in named if named.count(name) > 1}:
                raise ValueError(
                    f"names {field} {min(repeated)!r} twice in deployments; one Deployment is one component"
                )
        return self


class Approval(Model):
    before_switch: bool = False
    before_contract: bool = False


class Deadlines(Model):
    bring_up: Duration = timedelta(minutes=10)
    verify: Duration = timedelta(minutes=10)
    ramp: Duration = timedelta(minutes=30)
    migrate: Duration = timedelta(hours=1)
    rollback: Duration = timedelta(minutes=2)


class SecretKey(Model):
    name: ShortText
    key: ShortText


class ContractPolicy(StrEnum):
    AFTER_SOAK = "AfterSoak"
    MANUAL = "Manual"
    NEXT_UPGRADE = "NextUpgrade"


RoleName = Annotated[str, StringConstraints(max_length=63)]
_ROLE_NAME = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.@$]*")


class Logins(Model):
    """The database roles that the colours log in with. The role of the one that went is fenced before contract."""

    blue: RoleName
    green: RoleName

    @field_validator("blue", "green")
    @classmethod
    def _is_a_role_of_theirs(cls, value: str) -> str:
        if not _ROLE_NAME.fullmatch(value):
            raise ValueError("is no role name; use letters, digits and _ - . @ $, as in mc_blue")
        if value.startswith("pg_"):
            raise ValueError("begins with pg_, which PostgreSQL keeps for itself; name a role of yours")
        return value

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if self.blue == self.green:
            raise ValueError(
                f"names {self.blue} for both colours, a fence would cut off the version that serves; give each colour "
                "a role of its own"
            )
        return self


class Migrations(Model):
    image: Text
    database_secret_ref: SecretKey
    #: Keys of the same Secret, a URL each: replicas that must have a step before the next one begins.
    replica_keys: tuple[ShortText, ...] = Field(default=(), max_length=8)
    #: Without them nothing proves that the old version's sessions are gone, and contract waits for a person.
    logins: Logins | None = None
    contract: ContractPolicy = ContractPolicy.AFTER_SOAK


class Queries(Model):
    """The user's own PromQL; each must return one number over the last `{{ window }}`."""

    requests: Text
    errors: Text
    p95_latency_ms: Text


class Prometheus(Model):
    url: Text
    preset: Literal["http"] = "http"
    queries: Queries | None = None

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, value: str) -> str:
        if not re.match(r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/.*)?$", value):
            raise ValueError("is not an http(s) URL; write e.g. http://prometheus.monitoring.svc:9090")
        return value


class Metrics(Model):
    prometheus: Prometheus


class DeletionPolicy(StrEnum):
    ORPHAN = "Orphan"
    DELETE = "Delete"


class ReleaseSpec(Model):
    version: Annotated[str, StringConstraints(max_length=64)]
    strategy: Literal["BlueGreen"] = "BlueGreen"
    components: tuple[Component, ...] = Field(min_length=1, max_length=16)
    traffic: Traffic = Traffic()
    pre_stop_hook: PreStopHook = PreStopHook()
    verification: Verification = Verification()
    surge: Surge = Surge()
    soak: Duration = timedelta(minutes=10)
    approval: Approval = Approval()
    deadlines: Deadlines = Deadlines()
    migrations: Migrations | None = None
    metrics: Metrics
    adopt: Adoption | None = None
    hotfix: Annotated[str, StringConstraints(max_length=64)] = ""
    paused: bool = False
    rollback_to: ShortText = ""
    deletion_policy: DeletionPolicy = DeletionPolicy.ORPHAN

    @field_validator("version")
    @classmethod
    def _semver(cls, value: str) -> str:
        return semantic(value)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [component.name for component in self.components]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"names component {min(repeated)!r} twice; give each component a name of its own"
            )
        for item in self.adopt.deployments if self.adopt else ():
            if item.component not in names:
                raise ValueError(
                    f"adopt.deployments names component {item.component!r}, which components[] does not have; use one "
                    f"of {', '.join(names)}"
                )
        services = [service.name for component in self.components for service in component.services]
        if repeated := {name for name in services if services.count(name) > 1}:
            raise ValueError(f"names Service {min(repeated)!r} twice; a Service belongs to one component")
        self._edge_is_declared(services)
        ports = {
            (component.name, service.name, port.name)
            for component in self.components
            for service in component.services
            for port in service.ports
        }
        if services and not self.verification.http:
            raise ValueError(
                "verification.http is empty; name at least one request, without any no version can be proven healthy"
            )
        for index, check in enumerate(self.verification.http):
            if (check.component, check.service, check.port) not in ports:
                raise ValueError(
                    f"verification.http[{index}] checks {check.component}/{check.service}/{check.port}, which no "
                    "component declares; use names from components[].services[].ports[]"
                )
        return self

    def _edge_is_declared(self, services: list[str]) -> None:
        """Raises ValueError where Strict has no one edge, or not the names that it needs."""
        traffic = self.traffic
        if traffic.consistency is not Consistency.STRICT:
            return
        if traffic.edge is not None and traffic.edge not in services:
            raise ValueError(
                f"traffic.edge names {traffic.edge}, which no component declares; name one of "
                f"{', '.join(services) or 'components[].services[]'}"
            )
        if traffic.provider is TrafficProvider.SERVICE and traffic.edge is None and len(services) > 1:
            raise ValueError(
                f"traffic.edge is not given, consistency is Strict, and users could come in by {', '.join(services)}; "
                "name the one Service by which they do"
            )
        coloured = {colour_service_name(name, colour) for name in services for colour in Colour}
        if taken := sorted(coloured & set(services)):
            raise ValueError(
                f"names Service {taken[0]!r}, which traffic.consistency Strict needs for one colour of another; "
                "choose another name"
            )

    def component(self, name: str) -> Component:
        """The component of that name. Raises KeyError."""
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)


__all__ = [
    "Colour",
    "Consistency",
    "NoDataPolicy",
    "ReleaseSpec",
    "SwitchHealth",
    "TrafficProvider",
    "format_duration",
]
