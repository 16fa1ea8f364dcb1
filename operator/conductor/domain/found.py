"""What is named to be adopted, as it stands before anything of it is touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FoundPod:
    """A pod of a Deployment that a user made; `template_hash` says which of its ReplicaSets made it."""

    name: str
    ready: bool
    template_hash: str


@dataclass(frozen=True)
class FoundDeployment:
    """A Deployment that is named to be adopted, as it stands; `release` is the one that it was marked for."""

    name: str
    uid: str
    resource_version: str
    replicas: int
    #: No rollout is under way.
    settled: bool
    paused: bool
    controller: str
    release: str
    revision: str
    selector: Mapping[str, str]
    #: Its selector holds nothing but labels.
    plain_selector: bool
    template: Mapping[str, Any]
    pods: tuple[FoundPod, ...] = ()

    @property
    def template_hashes(self) -> frozenset[str]:
        return frozenset(pod.template_hash for pod in self.pods)


@dataclass(frozen=True)
class Found:
    """What is named in `spec.adopt`: Deployments by name, and the pods that each Service selects, by its name."""

    deployments: Mapping[str, FoundDeployment]
    selected: Mapping[str, frozenset[str]]
