"""The effects a plan may ask for, as data. `conductor.effects` knows how to make each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class RewriteObject(Effect):
    """Give an object that we own another spec, and our annotations, valid only against `resource_version`.

    `former`: its spec as it was read.
    """

    manifest: dict[str, Any]
    resource_version: str
    former: Mapping[str, Any]

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
    """Set a Deployment's replicas, valid only against `resource_version`."""

    deployment: str
    replicas: int
    resource_version: str | None = None

    @property
    def subject(self) -> str:
        return f"Deployment/{self.deployment}={self.replicas}"


@dataclass(frozen=True)
class DeleteObjects(Effect):
    """Delete objects that we own, in the order given; NotFound is success.

    `versions` holds a resource version for each object that may not have moved since it was read.
    """

    objects: tuple[tuple[str, str], ...]
    versions: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return ",".join(f"{kind}/{name}" for kind, name in self.objects)


@dataclass(frozen=True)
class DeletePods(Effect):
    """Delete pods by UID precondition, so that a pod that took the name since is not hit.

    `versions` holds the resource version of each, by name.
    """

    pods: tuple[tuple[str, str], ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return ",".join(name for name, _ in self.pods)


@dataclass(frozen=True)
class SetServing(Effect):
    """Tell pods to serve or not to serve in a ramp, by their serving label.

    `versions` holds the resource version of each, by name.
    """

    pods: tuple[tuple[str, bool], ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return ",".join(f"{name}={'on' if on else 'off'}" for name, on in self.pods)


@dataclass(frozen=True)
class AdoptObject(Effect):
    """Merge a change into an object that a user made, to take it over or to hand it back."""

    kind: str
    object: str
    adopted: bool
    change: dict[str, Any]
    resource_version: str

    @property
    def subject(self) -> str:
        return f"{self.kind}/{self.object}={'adopted' if self.adopted else 'handed-back'}"


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
class RoutePatch:
    """New backends of some of a route's rules, by their index, valid only against `resource_version`.

    `services` are those of the release whose users the route leads. `kept` is what the route's owner wrote, to be
    given back; empty where that stands on the route already, None where it is taken off it because it is given back.
    """

    route: str
    resource_version: str
    generation: int
    services: tuple[str, ...]
    backends: Mapping[int, tuple[dict[str, Any], ...]]
    former_backends: Mapping[int, tuple[dict[str, Any], ...]]
    kept: str | None = ""
    former_kept: str = ""
    #: What the route's rules say once they are patched, for people and for receipts.
    told: str = ""
    annotated: bool = True
    #: Rules for previews that go, by their index, and those that are put behind all others.
    removed: tuple[int, ...] = ()
    appended: tuple[Mapping[str, Any], ...] = ()
    #: Every rule as it was; given where some go or come.
    former_rules: tuple[Mapping[str, Any], ...] = ()
    #: By what rules for previews are known; empty where that stays as it is, None where none are left.
    preview: str | None = ""
    former_preview: str = ""


@dataclass(frozen=True)
class SwitchServices(Effect):
    """Point all Services and routes at their new pods as one effect: all, or none."""

    patches: tuple[ServicePatch, ...]
    epoch: int
    routes: tuple[RoutePatch, ...] = ()

    @property
    def subject(self) -> str:
        touched = [patch.service for patch in self.patches]
        return ",".join([*touched, *(f"HTTPRoute/{patch.route}={patch.told}" for patch in self.routes)])

    @property
    def moves(self) -> bool:
        """Whether anything is otherwise afterwards."""
        return bool(self.routes) or any(
            patch.selector != patch.former_selector or patch.ports for patch in self.patches
        )


@dataclass(frozen=True)
class WeighRoutes(SwitchServices):
    """Give routes' backends other weights; Services only where they are the routes' own."""


@dataclass(frozen=True)
class Claim:
    """One object that a former leader may still have a write in flight for, as it was read."""

    kind: str
    name: str
    resource_version: str


@dataclass(frozen=True)
class ClaimObjects(Effect):
    """Write our epoch on objects, so that a former leader's write in flight fails by its resource version."""

    claims: tuple[Claim, ...]
    epoch: int

    @property
    def subject(self) -> str:
        return ",".join(f"{claim.kind}/{claim.name}" for claim in self.claims)


@dataclass(frozen=True)
class PublishColour(Effect):
    """Keep `data.current` of the traffic ConfigMap true."""

    config_map: str
    colour: str
    exists: bool
    resource_version: str | None = None
    #: Put on one that we make; a user's own keeps those that it has.
    labels: Mapping[str, str] = field(default_factory=dict)

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
