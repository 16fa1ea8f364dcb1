"""An API server in memory behind the interface of `adapters.kube.Kube`: versions, conflicts, selectors.

Objects are never changed in place: a write stores a new one, so that what was read before stays as
it was. `fault` is called around every write and may raise, which is how tests let an operator crash.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from conductor.adapters.kube import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    Kube,
    NotFoundError,
    Object,
    Page,
)
from conductor.api import names

Key = tuple[str, str, str]
_KEPT = ("uid", "creationTimestamp", "generation")


@dataclass(frozen=True)
class Write:
    """One write that the server took (or would have taken, where it was dry)."""

    verb: str
    kind: str
    name: str
    dry_run: bool = False
    subresource: str | None = None


Moment = Literal["before", "after"]


class MemoryKube(Kube):
    """Stores objects by kind, namespace and name."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime(2026, 3, 1, tzinfo=UTC)) -> None:
        self._clock = clock
        self._version = 100
        self._by_kind: dict[str, dict[Key, Object]] = {}
        self._in_order: dict[str, list[Key]] = {}
        self._moved_at: dict[str, int] = {}
        self._applied: dict[Key, Object] = {}
        self.writes: list[Write] = []
        self.fault: Callable[[Moment, Write], None] | None = None
        #: Looks at what is there after every single write, also of one in the middle of an effect.
        self.witness: Callable[[], None] | None = None
        #: What is said against a manifest that is created or applied; None where it is taken.
        self.rejects: Callable[[Object], str | None] | None = None
        #: Kinds whose definition is not installed.
        self.unserved: set[str] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> "MemoryKube":
        # Objects are never changed in place, so that copies may share them.
        twin = MemoryKube(copy.deepcopy(self._clock, memo))
        twin._version = self._version
        twin._by_kind = {kind: dict(items) for kind, items in self._by_kind.items()}
        twin._moved_at = dict(self._moved_at)
        twin._applied = dict(self._applied)
        twin.writes = list(self.writes)
        twin.fault, twin.rejects = self.fault, self.rejects
        twin.unserved = set(self.unserved)
        # A witness holds this server, and is to hold its copy.
        memo[id(self)] = twin
        twin.witness = copy.deepcopy(self.witness, memo)
        return twin

    # reads

    def moved_at(self, *kinds: str) -> int:
        """A number that rises with every change of an object of these kinds."""
        return max((self._moved_at.get(kind, 0) for kind in kinds), default=0)

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        return self._found((kind, namespace or "", name))

    def served(self, kind: str) -> bool:
        return kind not in self.unserved

    def list(self, kind: str, namespace: str | None, labels: str = "", fields: str = "") -> list[Object]:
        wanted = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
        items = [
            self._by_kind[kind][key] for key in self._keys(kind) if namespace is None or key[1] == namespace
        ]
        if fields:
            items = [item for item in items if _chosen(item, fields)]
        if not wanted:
            return items
        return [item for item in items if wanted.items() <= (item["metadata"].get("labels") or {}).items()]

    def pages(self, kind: str, namespace: str | None, labels: str = "", size: int = 50) -> Iterator[Page]:
        found = self.list(kind, namespace, labels)
        for start in range(0, max(len(found), 1), size):
            yield Page(found[start : start + size], str(self._version))

    def _keys(self, kind: str) -> Sequence[Key]:
        if kind not in self._in_order:
            self._in_order[kind] = sorted(self._by_kind.get(kind, {}))
        return self._in_order[kind]

    # writes

    def create(self, kind: str, namespace: str, manifest: Object) -> Object:
        name = manifest["metadata"]["name"]
        key = (kind, namespace, name)

        def store() -> Object:
            if self._found(key) is not None:
                raise AlreadyExistsError(409, "AlreadyExists", f"{kind} {name} already exists")
            self._admit(manifest)
            return self._store(key, manifest)

        return self._write(Write("create", kind, name), store)

    def apply(self, manifest: Object, dry_run: bool = False) -> Object:
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata["namespace"], metadata["name"])

        def store() -> Object:
            self._admit(manifest)
            if dry_run:
                return manifest
            found = self._found(key)
            version = metadata.get("resourceVersion")
            if version is not None and (found is None or found["metadata"]["resourceVersion"] != version):
                raise ConflictError(409, "Conflict", "the object has been modified")
            bare = {**manifest, "metadata": {k: v for k, v in metadata.items() if k != "resourceVersion"}}
            former, self._applied[key] = self._applied.get(key, {}), bare
            return self._store(key, merged(without(found, former, bare), bare) if found else bare)

        return self._write(Write("apply", key[0], key[2], dry_run), store)

    def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        dry_run: bool = False,
    ) -> Object:
        key = (kind, namespace, name)

        def store() -> Object:
            found = self._present(key)
            changed = copy.deepcopy(found)
            for operation in operations:
                _operate(changed, operation)
            if found.get("immutable") and changed.get("data") != found.get("data"):
                raise ApiError(422, "Invalid", "data: field is immutable when `immutable` is set")
            if kind == "HTTPRoute" and changed["spec"] != found["spec"]:
                changed["metadata"]["managedFields"] = [managed(names.FIELD_MANAGER)]
            return changed if dry_run else self._store(key, changed)

        return self._write(Write("patch", kind, name, dry_run), store)

    def merge(
        self, kind: str, namespace: str, name: str, change: Object, subresource: str | None = None
    ) -> Object:
        key = (kind, namespace, name)

        def store() -> Object:
            found = self._present(key)
            self._expect(found, change.get("metadata", {}).get("resourceVersion"))
            return self._store(key, merged(found, change))

        return self._write(Write("merge", kind, name, subresource=subresource), store)

    def replace(self, kind: str, namespace: str, manifest: Object, subresource: str | None = None) -> Object:
        key = (kind, namespace, manifest["metadata"]["name"])

        def store() -> Object:
            found = self._present(key)
            self._expect(found, manifest["metadata"].get("resourceVersion"))
            new = {**found, "status": manifest["status"]} if subresource == "status" else manifest
            return self._store(key, new)

        return self._write(Write("replace", kind, key[2], subresource=subresource), store)

    def delete(
        self, kind: str, namespace: str, name: str, uid: str | None = None, version: str | None = None
    ) -> None:
        key = (kind, namespace, name)

        def store() -> Object:
            found = self._found(key)
            if found is None:
                return {}
            if uid is not None and found["metadata"]["uid"] != uid:
                raise ConflictError(409, "Conflict", f"the UID of {kind} {name} is another")
            self._expect(found, version)
            if kind in ("Pod", names.KIND) and (kind == "Pod" or found["metadata"].get("finalizers")):
                marked = {"metadata": {"deletionTimestamp": self.stamp()}}
                return self._store(key, merged(found, marked))
            self._remove(key)
            return {}

        self._write(Write("delete", kind, name), store)

    # what the cluster itself, a person or another program writes

    def put(self, kind: str, namespace: str, manifest: Object) -> Object:
        """Store an object as somebody else's write; no fault applies."""
        return self._store((kind, namespace, manifest["metadata"]["name"]), manifest)

    def edit(self, kind: str, namespace: str, name: str, change: Object) -> Object:
        """Merge a change as somebody else's write; no fault applies."""
        key = (kind, namespace, name)
        return self._store(key, merged(self._present(key), change))

    def drop(self, kind: str, namespace: str, name: str) -> None:
        """Remove an object for good, as somebody else's write."""
        self._remove((kind, namespace, name))

    def _admit(self, manifest: Object) -> None:
        if self.rejects is not None and (said := self.rejects(manifest)) is not None:
            raise ApiError(422, "Invalid", said)

    def _write(self, write: Write, store: Callable[[], Object]) -> Object:
        if self.fault is not None:
            self.fault("before", write)
        answer = store()
        self.writes.append(write)
        if self.witness is not None and not write.dry_run:
            self.witness()
        if self.fault is not None:
            self.fault("after", write)
        return answer

    def _found(self, key: Key) -> Object | None:
        return self._by_kind.get(key[0], {}).get(key)

    def _present(self, key: Key) -> Object:
        found = self._found(key)
        if found is None:
            raise NotFoundError(404, "NotFound", f"{key[0]} {key[2]} not found")
        return found

    def _expect(self, found: Object, version: str | None) -> None:
        if version is not None and found["metadata"]["resourceVersion"] != version:
            raise ConflictError(409, "Conflict", "the object has been modified")

    def _store(self, key: Key, manifest: Object) -> Object:
        self._version += 1
        former = self._found(key)
        # What is stored is never changed in place, so that the copy need not go deeper.
        metadata = {**manifest["metadata"]}
        new = {**manifest, "metadata": metadata}
        if former is not None:
            metadata |= {kept: former["metadata"][kept] for kept in _KEPT}
        metadata.setdefault("namespace", key[1])
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", self.stamp())
        spec_moved = former is None or former.get("spec") != new.get("spec")
        metadata["generation"] = metadata.get("generation", 0) + (1 if spec_moved else 0)
        if key[0] == "Service" and "clusterIP" not in new["spec"]:
            address = f"10.0.{self._version // 250}.{self._version % 250}"
            new["spec"] = {**new["spec"], "clusterIP": address}
        if former is not None and _same(former, new):
            return former
        if metadata.get("deletionTimestamp") and key[0] == names.KIND and not metadata.get("finalizers"):
            self._remove(key)
            return new
        metadata["resourceVersion"] = str(self._version)
        if former is None:
            self._in_order.pop(key[0], None)
        self._by_kind.setdefault(key[0], {})[key] = new
        self._moved_at[key[0]] = self._version
        return new

    def _remove(self, key: Key) -> None:
        if self._by_kind.get(key[0], {}).pop(key, None) is not None:
            self._version += 1
            self._moved_at[key[0]] = self._version
            self._in_order.pop(key[0], None)

    def stamp(self) -> str:
        """The time as the API server keeps it: whole seconds."""
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def managed(manager: str) -> Object:
    """Who wrote a route's rules last, as the API server keeps it."""
    return {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:rules": {}}}}


def merged(found: Object, change: Mapping[str, Any]) -> Object:
    """A JSON merge patch; None removes. Server-side apply of what one manager owns comes to the same."""
    result = dict(found)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def without(found: Object, former: Mapping[str, Any], applied: Mapping[str, Any]) -> Object:
    """What is left of an object once what was applied before, and is not applied now, is gone."""
    result = dict(found)
    for key, value in former.items():
        if key not in applied:
            result.pop(key, None)
        elif all(isinstance(part, Mapping) for part in (value, applied[key], result.get(key))):
            result[key] = without(result[key], value, applied[key])
    return result


def _chosen(item: Object, fields: str) -> bool:
    """Whether an object matches a field selector, of equalities only."""
    for pair in fields.split(","):
        path, wanted = pair.split("=", 1)
        node: Any = item
        for part in path.split("."):
            node = (node or {}).get(part)
        if node != wanted:
            return False
    return True


def _same(former: Object, new: Object) -> bool:
    version, generation = former["metadata"]["resourceVersion"], former["metadata"]["generation"]
    metadata = {**new["metadata"], "resourceVersion": version, "generation": generation}
    return former == {**new, "metadata": metadata}


def _operate_list(node: list[Any], last: str, operation: Mapping[str, Any]) -> None:
    """A member of a list: taken out, or put in at a place or behind all others."""
    place = len(node) if last == "-" else int(last)
    match operation["op"]:
        case "add" if place <= len(node):
            node.insert(place, operation["value"])
        case "remove" if place < len(node):
            del node[place]
        case named:
            raise ApiError(422, "Invalid", f"{named}: {operation['path']} does not exist")


def _operate(target: Object, operation: Mapping[str, Any]) -> None:
    path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].lstrip("/").split("/")]
    node: Any = target
    for part in path[:-1]:
        key: Any = int(part) if isinstance(node, list) else part
        if (key >= len(node)) if isinstance(node, list) else (key not in node):
            raise ApiError(422, "Invalid", f"the path {operation['path']} does not exist")
        node = node[key]
    last = path[-1]
    if isinstance(node, list):
        _operate_list(node, last, operation)
        return
    match operation["op"]:
        case "test":
            if node.get(last) != operation["value"]:
                raise ConflictError(422, "Invalid", f"test of {operation['path']} failed")
        case "replace" | "remove" as named:
            if last not in node:
                raise ApiError(422, "Invalid", f"{named}: {operation['path']} does not exist")
            if named == "remove":
                del node[last]
            else:
                node[last] = operation["value"]
        case "add":
            node[last] = operation["value"]
        case other:
            raise ApiError(422, "Invalid", f"operation {other} is not known")
