"""What an application is to the demo and the benchmarks, and podinfo as one; mc as one is `harness.mc_install.Mc`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from harness import podinfo
from harness.kube import Kube
from harness.load_run import LoadPlan
from harness.releases import Release

INSTALL_SECONDS = 180


class Application(Protocol):
    """Something that is installed once and then upgraded."""

    kube: Kube

    @property
    def release(self) -> Release: ...

    def install(self) -> None: ...

    def ask_for(self, version: str) -> None: ...

    def load(self, **changes: Any) -> LoadPlan: ...


@dataclass
class Podinfo:
    """podinfo as a release; its load is one GET that tells the version."""

    kube: Kube
    namespace: str
    options: podinfo.PodinfoOptions = field(default_factory=podinfo.PodinfoOptions)

    @property
    def release(self) -> Release:
        return Release(self.kube, self.namespace, podinfo.NAME)

    def install(self) -> None:
        self.ask_for(podinfo.OLD_VERSION)
        self.release.wait_settled(podinfo.OLD_VERSION, deadline_seconds=INSTALL_SECONDS)

    def ask_for(self, version: str) -> None:
        """`6.9.0 --random-error` asks for that version with a fault of podinfo's own in it."""
        version, *arguments = version.split()
        self.release.apply(podinfo.release_spec(version, self.options, arguments=tuple(arguments)))

    def load(self, **changes: Any) -> LoadPlan:
        return podinfo.load_plan(self.namespace, **changes)
