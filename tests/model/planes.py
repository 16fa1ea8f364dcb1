"""What the letters of a configuration stand for: real specs, revisions, and the names of real objects."""

from typing import Any

from tests.model import legacy
from tests.model.bounds import Bounds, Part
from tests.model.world import LEGACY, OWNERS, WIDE
from tests.unit.domain.plane import migrations, spec, traffic

from conductor.api import names
from conductor.api.parse import Finding, parse_spec
from conductor.api.spec import Colour, ReleaseSpec
from conductor.domain.revision import Revision, digest

NAME, NAMESPACE, UID = "mc", "prod", "6c1e"
COLOURS = {"b": Colour.BLUE, "g": Colour.GREEN}
FINDINGS = (Finding("spec.version", '"latest"', "is not a semantic version"),)


class Plane:
    """The words of one configuration, both ways."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.parts = bounds.parts
        self.served = tuple(index for index, part in enumerate(bounds.parts) if part.served)
        self.revisions = {letter: self._revision(letter) for letter in bounds.letters}
        if bounds.legacy:
            spec_of_first = self.revisions[bounds.letters[0]].spec
            self.revisions[LEGACY] = legacy.revision(bounds, spec_of_first)
        #: What a Service may be pointed at.
        self.targets: tuple[str, ...] = (*self.revisions, WIDE, *(OWNERS if bounds.legacy else ""))
        self.letters = {revision.hash: letter for letter, revision in self.revisions.items()}
        self.letters[""] = ""
        self._specs = {letter: self._spec(letter) for letter in bounds.letters}
        self.component_index = {part.name: index for index, part in enumerate(bounds.parts)}
        self.service_index = {self.service_name(index): index for index in self.served}
        self.preview_index = {names.preview_name(self.service_name(index)): index for index in self.served}
        self.workload_key = {
            self.deployment_name(index, letter, colour): (index, letter, colour)
            for index in range(len(bounds.parts))
            for letter in bounds.letters
            for colour in COLOURS
        }
        if bounds.legacy:
            self.workload_key |= {
                legacy.deployment_name(part): (index, LEGACY, legacy.COLOUR)
                for index, part in enumerate(bounds.parts)
            }
        self.record_letter = {
            names.revision_name(NAME, revision.hash): letter for letter, revision in self.revisions.items()
        }

    def hash(self, letter: str) -> str:
        return self.revisions[letter].hash if letter else ""

    def service_name(self, index: int) -> str:
        return f"mc-{self.parts[index].name}"

    def deployment_name(self, index: int, letter: str, colour: str) -> str:
        if letter == LEGACY:
            return legacy.deployment_name(self.parts[index])
        return names.deployment_name(NAME, self.parts[index].name, str(COLOURS[colour]), self.hash(letter))

    def pod_name(self, index: int, letter: str, colour: str, slot: int) -> str:
        return f"{self.deployment_name(index, letter, colour)}-{slot}"

    def read_spec(self, wish: str) -> ReleaseSpec | None:
        """The spec of a wish; None for one that cannot be read."""
        if wish.startswith("X"):
            return None
        found = self._specs.get(wish)
        if found is None:
            found = self._spec(wish)
            self._specs[wish] = found
        return found

    def digest(self, wish: str) -> str:
        return "" if wish.startswith("X") else self.hash(wish[0])

    def readable(self, text: str) -> str:
        """Hashes as letters."""
        for letter, revision in self.revisions.items():
            text = text.replace(revision.hash, letter)
        return text

    def _spec(self, wish: str) -> ReleaseSpec:
        letter, _, back = wish.partition(">")
        raw = self._raw(letter[0])
        if "n" in letter:
            del raw["adopt"]
        raw["paused"] = "p" in letter
        raw["rollbackTo"] = self.hash(back) if back else ""
        return _parsed(raw)

    def _revision(self, letter: str) -> Revision:
        raw = self._raw(letter)
        return Revision(hash=digest(raw), spec=_parsed(raw))

    def _raw(self, letter: str) -> dict[str, Any]:
        bounds, version = self.bounds, self.bounds.version_of[letter]
        ramp = [{"weight": weight, "hold": "3s"} for weight in bounds.ramp]
        more: dict[str, Any] = {}
        if bounds.migrations:
            more["migrations"] = migrations(version, bounds.migrations)
        if bounds.legacy:
            more["adopt"] = legacy.consent(bounds)
        if bounds.approvals:
            more["approval"] = {"beforeSwitch": True, "beforeContract": True}
        return spec(
            version,
            components=[_component(part, version, bounds.legacy) for part in bounds.parts],
            traffic=traffic(ramp=ramp),
            soak="3s",
            verification={
                "http": [
                    {"component": part.name, "service": f"mc-{part.name}", "port": "http", "path": "/"}
                    for part in bounds.parts
                    if part.served
                ]
            },
            **more,
        )


def _component(part: Part, version: str, as_before: bool) -> dict[str, Any]:
    container = {"name": part.name, "image": f"localhost/mc:{version}"}
    template: dict[str, Any] = {"spec": {"containers": [container]}}
    if as_before:
        template["metadata"] = {"labels": legacy.owners_labels(part)}
    common = {"name": part.name, "replicas": part.replicas, "template": template}
    if not part.served:
        return {**common, "handover": part.handover}
    port = {"name": "http", "port": 80, "targetPort": 8080}
    return {**common, "services": [{"name": f"mc-{part.name}", "ports": [port]}]}


def _parsed(raw: dict[str, Any]) -> ReleaseSpec:
    parsed = parse_spec(raw)
    if not isinstance(parsed, ReleaseSpec):
        raise TypeError(f"a configuration of the model is not valid: {parsed}")
    return parsed
