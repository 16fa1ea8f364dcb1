"""The effects a plan may ask for, as data. `conductor.effects` knows how to make each."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effect:
    """Base of all effects; `subject` names what is touched, for the intent, the log and the metrics."""

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def subject(self) -> str:
        return ""


@dataclass(frozen=True)
class ApplyObject(Effect):
    """Server-side apply an object that we own."""

    manifest: dict[str, Any]

    @property
    def subject(self) -> str:
        return f"{self.manifest['kind']}/{self.manifest['metadata']['name']}"


@dataclass(frozen=True)
class CreateObject(Effect):
    """Create an object under its deterministic name; AlreadyExists is success."""

    manifest: dict[str, Any]

    @property
    def subject(self) -> str:
        return f"{self.manifest['kind']}/{self.manifest['metadata']['name']}"


@dataclass(frozen=True)
class PinConfigMap(Effect):
    """Copy a user's ConfigMap as it is now to a revision's own immutable one."""

    source: str
    target: str
    labels: dict[str, str]

    @property
    def subject(self) -> str:
        return f"ConfigMap/{self.target}"


@dataclass(frozen=True)
class ScaleDeployment(Effect):
    """Set a Deployment's replicas."""

    deployment: str
    replicas: int

    @property
    def subject(self) -> str:
        return f"Deployment/{self.deployment}={self.replicas}"


@dataclass(frozen=True)
class DeleteObjects(Effect):
    """Delete objects that we own, in the order given; NotFound is success."""

    objects: tuple[tuple[str, str], ...]

    @property
    def subject(self) -> str:
        return ",".join(f"{kind}/{name}" for kind, name in self.objects)


@dataclass(frozen=True)
class DeletePods(Effect):
    """Delete pods by UID precondition, so that a pod that took the name since is not hit."""

    pods: tuple[tuple[str, str], ...]

    @property
    def subject(self) -> str:
        return ",".join(name for name, _ in self.pods)


@dataclass(frozen=True)
class SetServing(Effect):
    """Tell pods to serve or not to serve in a ramp, by their serving label."""

    pods: tuple[tuple[str, bool], ...]

    @property
    def subject(self) -> str:
        return ",".join(f"{name}={'on' if on else 'off'}" for name, on in self.pods)


@dataclass(frozen=True)
class ServicePatch:
    """One Service's new selector and ports, valid only against `resource_version`."""

    service: str
    resource_version: str
    selector: dict[str, str]
    former_selector: dict[str, str]
    ports: tuple[dict[str, Any], ...] = ()
    former_ports: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class SwitchServices(Effect):
    """Point all Services at their new pods as one effect: all, or none."""

    patches: tuple[ServicePatch, ...]
    epoch: int

    @property
    def subject(self) -> str:
        return ",".join(patch.service for patch in self.patches)


@dataclass(frozen=True)
class ClaimService(Effect):
    """Write our epoch on a Service, so that a former leader's patch in flight fails."""

    service: str
    resource_version: str
    epoch: int

    @property
    def subject(self) -> str:
        return f"Service/{self.service}"


@dataclass(frozen=True)
class PublishColour(Effect):
    """Keep `data.current` of the traffic ConfigMap true."""

    config_map: str
    colour: str
    exists: bool

    @property
    def subject(self) -> str:
        return f"ConfigMap/{self.config_map}={self.colour}"


@dataclass(frozen=True)
class ReleaseFinalizer(Effect):
    """Add or remove our finalizer on the release."""

    present: bool

    @property
    def subject(self) -> str:
        return "add" if self.present else "remove"
