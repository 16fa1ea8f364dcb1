"""From real effects to writes on the abstract cluster."""

from typing import Any

from tests.model.broken import BrokenPromiseError
from tests.model.planes import COLOURS, NAME, Plane
from tests.model.snapshots import Observer
from tests.model.statuses import MOVED_VERSION, VERSION
from tests.model.world import ASTRAY, CONFIG_MAP, OWNERS, Workload, Write, service_key

from conductor.api import names
from conductor.domain import effects
from conductor.domain.revision import narrow_selector

LETTER_OF = {str(colour): letter for letter, colour in COLOURS.items()}


class Translator:
    """From real effects to writes on the abstract cluster."""

    def __init__(self, plane: Plane, observer: Observer) -> None:
        self._plane = plane
        self._observer = observer

    def read(self, effect: effects.Effect) -> Write:
        """The abstract write of an effect. Raises BrokenPromiseError where it names what is not ours."""
        try:
            return self._read(effect)
        except KeyError as error:
            said = f"{effect.name} {effect.subject} names {error}, which is not ours"
            raise BrokenPromiseError(8, said) from error

    def _read(self, effect: effects.Effect) -> Write:
        match effect:
            case effects.ApplyObject(manifest) | effects.CreateObject(manifest):
                return self._creation(manifest, applied=isinstance(effect, effects.ApplyObject))
            case effects.ScaleDeployment(name, replicas, version):
                key = self._workload(name)
                return Write("scale", ((key, str(replicas)),), _guards((key, version)))
            case effects.DeleteObjects(objects, versions):
                keys = [self._doomed(kind, name) for kind, name in objects]
                guards = _guards(
                    *((key, versions.get(named)) for key, named in zip(keys, objects, strict=True))
                )
                return Write("delete", tuple((key,) for key in keys), guards)
            case effects.DeletePods(pods, versions):
                found = [self._pod(name) for name, _ in pods]
                guards = _guards(
                    *((key, versions.get(name)) for key, (name, _) in zip(found, pods, strict=True))
                )
                return Write("shed", tuple((key,) for key in found), guards)
            case effects.SetServing(pods, versions):
                found = [self._pod(name) for name, _ in pods]
                guards = _guards(
                    *((key, versions.get(name)) for key, (name, _) in zip(found, pods, strict=True))
                )
                told = ("on" if on else "" for _, on in pods)
                return Write("label", tuple(zip(found, told, strict=True)), guards)
            case effects.SwitchServices(patches, epoch):
                items = tuple(self._patch(patch) for patch in patches)
                guards = _guards(
                    *((item[0], p.resource_version) for item, p in zip(items, patches, strict=True))
                )
                return Write("switch", items, guards, stamped=epoch == 1)
            case effects.ClaimObjects(claims, epoch):
                keys = [self._claimed(claim) for claim in claims]
                guards = _guards(*((key, c.resource_version) for key, c in zip(keys, claims, strict=True)))
                return Write("claim", tuple((key,) for key in keys), guards, stamped=epoch == 1)
            case effects.AdoptObject():
                return self._adoption(effect)
            case effects.PublishColour(_, colour, exists, version):
                item = (CONFIG_MAP, LETTER_OF[colour], "exists" if exists else "")
                return Write("publish", (item,), _guards((CONFIG_MAP, version)))
        raise KeyError(effect.name)

    def _adoption(self, effect: effects.AdoptObject) -> Write:
        """A change of what a user made: marks, whether it is held still, and by what more a Service selects."""
        change, taken = effect.change, effect.adopted
        allowed = {"paused"} if effect.kind == "Deployment" else {"selector"}
        if others := change["spec"].keys() - allowed:
            raise BrokenPromiseError(
                8, f"{', '.join(sorted(others))} of {effect.object} is changed by adopting it"
            )
        stamped = (change.get("metadata", {}).get("annotations") or {}).get(names.ANNOTATION_EPOCH) == "1"
        if effect.kind == "Deployment":
            key = self._workload(effect.object)
            verb = "pause" if "metadata" not in change else "mark" if taken else "unmark"
            items: tuple[tuple[str, ...], ...] = ((key, verb),)
        else:
            index = self._plane.service_index[effect.object]
            key = service_key(index)
            selector = {**self._observer.selector(index, OWNERS), **change["spec"]["selector"]}
            left = {label: value for label, value in selector.items() if value is not None}
            items = ((key, self._target(index, left), "ours" if taken else ""),)
        return Write("adopt", items, _guards((key, effect.resource_version)), stamped)

    def _creation(self, manifest: dict[str, Any], applied: bool) -> Write:
        kind, metadata = manifest["kind"], manifest["metadata"]
        name, labels = metadata["name"], metadata["labels"]
        if "ownerReferences" in metadata:
            raise BrokenPromiseError(9, f"{kind} {name} would go with its owner")
        if labels[names.LABEL_RELEASE] != NAME:
            raise KeyError(labels[names.LABEL_RELEASE])
        if kind == "ControllerRevision":
            return Write("record", ((self._plane.record_letter[name],),))
        if kind == "Job":
            return Write("job", ((name,),))
        spec = manifest["spec"]
        if kind == "Deployment":
            verb = "apply" if applied else "create"
            return Write(verb, ((self._workload(name), str(spec["replicas"])),))
        if kind == "Service" and name in self._plane.preview_index:
            index = self._plane.preview_index[name]
            return Write("preview", ((str(index), self._target(index, spec["selector"])),))
        index = self._plane.service_index[name]
        stamped = metadata["annotations"][names.ANNOTATION_EPOCH] == "1"
        return Write("service", ((str(index), self._target(index, spec["selector"])),), stamped=stamped)

    def _target(self, index: int, selector: object) -> str:
        for target in self._plane.targets:
            if self._observer.selector(index, target) == selector:
                return target
        for letter, revision in self._plane.revisions.items():
            # The owner's keys were taken out by somebody; they lead nowhere else, so that it makes no difference.
            if selector == narrow_selector(NAME, self._plane.parts[index].name, revision.hash):
                return letter if revision.adopted is None else ASTRAY
        return ASTRAY

    def _patch(self, patch: effects.ServicePatch) -> tuple[str, str, str]:
        index = self._plane.service_index[patch.service]
        return (
            service_key(index),
            self._target(index, patch.selector),
            self._target(index, patch.former_selector),
        )

    def _workload(self, name: str) -> str:
        index, letter, colour = self._plane.workload_key[name]
        return Workload(index, letter, colour, 0).key

    def _pod(self, name: str) -> str:
        deployment, _, slot = name.rpartition("-")
        index, letter, colour = self._plane.workload_key[deployment]
        return Workload(index, letter, colour, 0).pod_key(int(slot))

    def _doomed(self, kind: str, name: str) -> str:
        if kind == "Deployment":
            return self._workload(name)
        if kind == "Service" and name in self._plane.preview_index:
            return f"preview/{self._plane.preview_index[name]}"
        if kind == "Service":
            return service_key(self._plane.service_index[name])
        if kind == "ControllerRevision":
            return f"record/{self._plane.record_letter[name]}"
        if kind == "Job" and name.startswith(f"{NAME}-u"):
            return f"job/{name}"
        raise KeyError(f"{kind}/{name}")

    def _claimed(self, claim: effects.Claim) -> str:
        if claim.kind == "Service":
            return service_key(self._plane.service_index[claim.name])
        if claim.kind == "Deployment":
            return self._workload(claim.name)
        if claim.kind == "Pod":
            return self._pod(claim.name)
        return CONFIG_MAP


def _guards(*named: tuple[str, str | None]) -> frozenset[str]:
    """Objects whose version a write names as it was read; an empty name guards nothing."""
    read = (VERSION, MOVED_VERSION)
    wrong = [key for key, version in named if version not in (*read, None)]
    if wrong:
        raise KeyError(f"a version of {wrong[0]} that nobody read")
    return frozenset(key for key, version in named if version in read)
