"""Insert receipts into the ConfigMaps that keep them: each write is valid only against what was read.

A receipt that is there already is done; another one at its sequence is a fork and is left as it stands. The
segments carry no owner reference, so that evidence outlives the release.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from conductor.adapters.kube import AlreadyExistsError, ApiError, ConflictError, Kube, NotFoundError, Object
from conductor.api import names
from conductor.api.receipts import (
    BEGINNING,
    SEGMENT_LINES,
    LineError,
    Link,
    canonical,
    key_of,
    link,
    read,
    segment_labels,
    segment_name,
    segment_of,
)

#: Somebody else writes the segment at the same time: read again so often before the pass goes on without us.
_TRIES = 3


class ForkedError(ApiError):
    """The sink holds another receipt than the release's status at the same sequence."""


class ForeignSegmentError(ApiError):
    """An object of a segment's name is there, and it is not of this chain."""


@dataclass(frozen=True)
class ChainId:
    """Whose receipts."""

    namespace: str
    release: str
    uid: str


@dataclass(frozen=True)
class Segment:
    """A segment as a write or a read of ours left it, and the hash of the last receipt that we know to be in it.

    `ahead`: it holds others after that one. `lost`: it, or one before it in the same call, does not hold what came
    before; somebody deleted that, and nobody can make it again.
    """

    number: int
    resource_version: str
    last: str
    ahead: bool = False
    lost: bool = False


def keep_receipts(kube: Kube, chain: ChainId, lines: Sequence[str], known: Segment | None) -> Segment:
    """Insert lines, which follow one another, into their segments; the last of these as it is then.

    `known` spares a read where nobody else wrote since. Raises ApiError, and LineError where a line is damaged.
    """
    if not lines:
        raise ValueError("no lines to keep")
    lost = False
    for number, batch in groupby(map(read, lines), key=lambda content: segment_of(content["sequence"])):
        contents = list(batch)
        wanted = {key_of(content["sequence"]): canonical(content) for content in contents}
        first, last = contents[0], contents[-1]
        # What is not known to follow the end of the segment could replace another line: it is compared first.
        ours = known is not None and (known.number, known.last, known.ahead) == (
            number,
            first["previous"],
            False,
        )
        there = _insert(kube, chain, number, wanted, known.resource_version if known and ours else None)
        data = _data(there)
        begun = first["sequence"] % SEGMENT_LINES == 1
        lost = lost or not (begun or key_of(first["sequence"] - 1) in data)
        known = Segment(
            number,
            there["metadata"]["resourceVersion"],
            last["hash"],
            ahead=any(key > key_of(last["sequence"]) for key in data),
            lost=lost,
        )
    assert known is not None
    return known


def find_head(kube: Kube, chain: ChainId) -> Link:
    """The last receipt that the sink holds. Raises ApiError; ForkedError where that one cannot be read."""
    labels = segment_labels(chain.release, chain.uid)
    found = kube.list(
        "ConfigMap", chain.namespace, ",".join(f"{key}={value}" for key, value in labels.items())
    )
    lines = {key: line for segment in found for key, line in _data(segment).items() if key.isdecimal()}
    if not lines:
        return BEGINNING
    last = max(lines)
    try:
        return link(lines[last])
    except LineError as error:
        raise ForkedError(409, "Unreadable", f"the last receipt that is kept, {last}, {error}") from error


def _insert(
    kube: Kube, chain: ChainId, number: int, wanted: Mapping[str, str], version: str | None
) -> Object:
    """The segment once the lines wanted are in it."""
    name = segment_name(chain.release, chain.uid, number)
    conflict: ApiError | None = None
    for _ in range(_TRIES):
        try:
            if version is not None:
                return kube.patch("ConfigMap", chain.namespace, name, _operations(version, wanted, number))
            there = kube.get("ConfigMap", chain.namespace, name)
            if there is None:
                return kube.create("ConfigMap", chain.namespace, _new(chain, number, wanted))
            missing = _missing(chain, there, wanted)
            if not missing:
                return there
            read_at = there["metadata"]["resourceVersion"]
            operations = _operations(read_at, missing, number, empty=not _data(there))
            return kube.patch("ConfigMap", chain.namespace, name, operations)
        except (ConflictError, AlreadyExistsError, NotFoundError) as error:
            conflict, version = error, None
    assert conflict is not None
    raise conflict


def _missing(chain: ChainId, there: Object, wanted: Mapping[str, str]) -> dict[str, str]:
    """What of the lines wanted is not there yet. Raises ForkedError where something else is."""
    name = there["metadata"]["name"]
    if (there["metadata"].get("labels") or {}).get(names.LABEL_RELEASE_UID) != chain.uid:
        raise ForeignSegmentError(
            409, "ForeignConfigMap", f"ConfigMap {name} is there and holds no receipts of ours"
        )
    data = _data(there)
    for key, line in wanted.items():
        if data.get(key, line) != line:
            raise ForkedError(409, "Forked", f"ConfigMap {name} has another receipt at {key} than the status")
    first = read(next(iter(wanted.values())))
    before = key_of(first["sequence"] - 1)
    if before in data and f'"hash":"{first["previous"]}"' not in data[before]:
        raise ForkedError(409, "Forked", f"ConfigMap {name} has another receipt at {before} than the status")
    return {key: line for key, line in wanted.items() if key not in data}


def _operations(
    resource_version: str, lines: Mapping[str, str], number: int, *, empty: bool = False
) -> list[dict[str, Any]]:
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}
    ]
    if empty:
        operations.append({"op": "add", "path": "/data", "value": {}})
    operations += [{"op": "add", "path": f"/data/{key}", "value": line} for key, line in lines.items()]
    if _is_full(lines, number):
        operations.append({"op": "add", "path": "/immutable", "value": True})
    return operations


def _new(chain: ChainId, number: int, lines: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": segment_name(chain.release, chain.uid, number),
            "namespace": chain.namespace,
            "labels": segment_labels(chain.release, chain.uid),
        },
        "data": dict(lines),
        **({"immutable": True} if _is_full(lines, number) else {}),
    }


def _is_full(lines: Mapping[str, str], number: int) -> bool:
    """Whether the segment ends with these lines: nothing will be added to it any more."""
    return key_of((number + 1) * SEGMENT_LINES) in lines


def _data(segment: Object) -> dict[str, str]:
    return segment.get("data") or {}
