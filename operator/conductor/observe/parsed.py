"""Specs and revisions as models: large once parsed, so that only those in use are kept so.

A spec is told by its release's UID and generation, a record by its name and resource version; both never
change under those. What is held for every release is the packed text.
"""

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from conductor.api.parse import Finding, parse_spec
from conductor.api.spec import ReleaseSpec
from conductor.domain.revision import Revision, digest
from conductor.observe import read

Object = Mapping[str, Any]
#: Reads a live spec: bad input comes back as findings.
Parse = Callable[[Object], ReleaseSpec | tuple[Finding, ...]]
_T = TypeVar("_T")
#: Of each sort: enough for some hundred releases that move at once, a few megabytes at most.
_KEPT = 512


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """A release's spec, or what is wrong with it."""

    spec: ReleaseSpec | None
    findings: tuple[Finding, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Record:
    """One ControllerRevision that this operator can read, packed."""

    namespace: str
    name: str
    resource_version: str
    created: str
    hash: str
    packed: bytes


class Parsed:
    """Thread-safe. One for the whole process; the least recently used are parsed again when they are needed."""

    def __init__(self, parse: Parse = parse_spec, kept: int = _KEPT) -> None:
        self._parse = parse
        self._specs: _Recent[ParsedSpec] = _Recent(kept)
        self._revisions: _Recent[Revision | None] = _Recent(kept)

    def spec(self, release: Object) -> ParsedSpec:
        """The release's spec as of its generation."""
        metadata = release["metadata"]
        key = (metadata["uid"], metadata["generation"]) if metadata.get("generation") else None
        return self._specs.get(key, lambda: self._read(release.get("spec") or {}))

    def _read(self, raw: Object) -> ParsedSpec:
        found = self._parse(raw)
        if isinstance(found, ReleaseSpec):
            return ParsedSpec(found, (), digest(raw))
        return ParsedSpec(None, found, "")

    def record(self, obj: Object) -> Record | None:
        """A ControllerRevision packed; None for one that this operator cannot read, which is left alone."""
        metadata = obj["metadata"]
        key = (metadata["namespace"], metadata["name"], metadata["resourceVersion"])
        if self._revisions.get(key, lambda: read.revision(obj)) is None:
            return None
        return Record(*key, metadata["creationTimestamp"], obj["data"]["hash"], pack(obj["data"]))

    def revision(self, record: Record) -> Revision:
        """The revision of a record."""
        key = (record.namespace, record.name, record.resource_version)
        found = self._revisions.get(key, lambda: read.revision({"data": unpack(record.packed)}))
        if found is None:
            raise ValueError(f"ControllerRevision {record.name} could be read before and cannot be read now")
        return found


class Revisions(Mapping[str, Revision]):
    """Revisions by hash, the oldest first; each is parsed when it is looked at."""

    def __init__(self, parsed: Parsed, records: Iterable[Record]) -> None:
        self._parsed = parsed
        self._records = {
            item.hash: item for item in sorted(records, key=lambda item: (item.created, item.name))
        }

    def __getitem__(self, hash_: str) -> Revision:
        return self._parsed.revision(self._records[hash_])

    def __contains__(self, hash_: object) -> bool:
        return hash_ in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Revisions({list(self._records)})"


def pack(value: Any) -> bytes:
    """A JSON value in a fifth of its room."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def unpack(packed: bytes) -> Any:
    """The JSON value again."""
    return json.loads(zlib.decompress(packed))


class _Recent(Generic[_T]):
    """The most recently used answers of a function that is dear and always answers the same."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._held: OrderedDict[Hashable, _T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable | None, make: Callable[[], _T]) -> _T:
        """What is held under `key`, else made now; never held without a key."""
        if key is None:
            return make()
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()
        with self._lock:
            self._held[key] = made
            while len(self._held) > self._kept:
                self._held.popitem(last=False)
        return made
