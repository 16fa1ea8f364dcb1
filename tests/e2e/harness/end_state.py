"""What an upgrade leaves behind, in a form in which two runs of it can be compared: roles instead of names.

Revisions, upgrade ids, versions and colours become `<from>`, `<to>`; times, resource versions and epochs are left
out. Everything else must be equal, down to the labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.kube import Kube, Object
from harness.releases import KIND

LABEL_RELEASE = "maestro-conductor.io/release"
LABEL_REVISION = "maestro-conductor.io/revision"
LABEL_UPGRADE = "maestro-conductor.io/upgrade"
#: Makes each telling's pods others than the one's before, so that it is an upgrade at all.
TELLING = "telling"
EPOCH = "maestro-conductor.io/epoch"
DIGEST = "maestro-conductor.io/digest"
LEDGER_LINE = "--ledger-line"
DEPLOYMENT_REVISION = "deployment.kubernetes.io/revision"
KINDS = ("Service", "Deployment", "ControllerRevision", "ConfigMap", "Job")
_NOT_COMPARED = frozenset(
    {"epoch", "sequence", "observedGeneration", "message", "handledCommands", "receipts"}
)
_TIME = re.compile(r"(At|Time)$|^at$")

Json = dict[str, Any]


@dataclass(frozen=True)
class Roles:
    """The words that differ between two runs of one story, and what each stands for."""

    words: Mapping[str, str]

    @classmethod
    def of(cls, status: Json, before: str, revisions: tuple[str, str], versions: tuple[str, str]) -> Roles:
        """`before`: the colour that served when the story began; pairs are (from, to)."""
        last = status.get("lastUpgrade") or {}
        other = "green" if before == "blue" else "blue"
        words = {
            before: "<from-colour>",
            other: "<to-colour>",
            last.get("id", ""): "<upgrade>",
            revisions[0]: "<from>",
            revisions[1]: "<to>",
            versions[0]: "<from-version>",
            versions[1]: "<to-version>",
        }
        return cls({word: role for word, role in words.items() if word})

    def applied(self, value: Any) -> Any:
        """The value with roles for words, in keys and values."""
        text = json.dumps(value, sort_keys=True)
        # Longest first: a version may begin with another one.
        for word in sorted(self.words, key=len, reverse=True):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", self.words[word], text)
        return json.loads(text)


def end_state(kube: Kube, namespace: str, release: str, roles: Roles) -> Json:
    """Everything of the release in the namespace, by kind and name, in roles."""
    found: Json = {}
    labels = f"{LABEL_RELEASE}={release}"
    for kind in KINDS:
        for obj in kube.objects(kind, namespace, labels=labels):
            if not _of_this_upgrade(obj, roles):
                continue
            shown = roles.applied(normalised(kind, obj))
            found[f"{kind}/{roles.applied(obj['metadata']['name'])}"] = shown
    status = kube.need(KIND, release, namespace).get("status") or {}
    found["status"] = roles.applied(normalised_status(status))
    return found


def _of_this_upgrade(obj: Object, roles: Roles) -> bool:
    """What earlier runs left is kept up to a limit; how much that is is the namespace's history."""
    labels = obj["metadata"].get("labels", {})
    names = (labels.get(LABEL_REVISION), labels.get(LABEL_UPGRADE))
    return all(name is None or name in roles.words for name in names)


def normalised(kind: str, obj: Object) -> Json:
    """What of an object somebody decided."""
    metadata = obj["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in (EPOCH, DEPLOYMENT_REVISION)
    }
    kept: Json = {
        "labels": metadata.get("labels") or {},
        "annotations": annotations,
        "ownerReferences": metadata.get("ownerReferences") or [],
    }
    spec = obj.get("spec") or {}
    if kind == "Service":
        kept |= {"selector": spec.get("selector") or {}, "ports": _ports(spec)}
    elif kind == "Deployment":
        kept |= {key: spec.get(key) for key in ("replicas", "selector", "template")}
    elif kind == "Job":
        (container,) = spec["template"]["spec"]["containers"]
        conditions = (obj.get("status") or {}).get("conditions") or []
        ended = sorted(item["type"] for item in conditions if item["status"] == "True")
        # The digest stands for image and arguments, and these name the line at which the ledger then stood.
        annotations.pop(DIGEST, None)
        kept |= {"labels": _own(kept["labels"]), "image": container["image"], "ended": ended}
        kept["args"] = _without_line(container.get("args") or [])
    else:
        kept |= {key: obj[key] for key in ("data", "immutable") if key in obj}
    found: Json = _without_telling(kept)
    # The colour of the first install, which everybody's spec names for ever: no role in any upgrade.
    (found.get("data") or {}).get("spec", {}).get("traffic", {}).pop("current", None)
    return found


def _without_telling(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_telling(item) for key, item in value.items() if key != TELLING}
    if isinstance(value, list):
        return [_without_telling(item) for item in value]
    return value


def _without_line(args: list[str]) -> list[str]:
    return [arg for before, arg in zip(["", *args], args, strict=False) if LEDGER_LINE not in (before, arg)]


def _own(labels: Mapping[str, str]) -> Json:
    return {key: value for key, value in labels.items() if key.startswith("maestro-conductor.io/")}


def _ports(spec: Json) -> list[Json]:
    return [{key: port[key] for key in port if key != "nodePort"} for port in spec.get("ports") or []]


def normalised_status(status: Json) -> Json:
    """The status without times, counters and sentences; each run's receipts are proven by themselves."""
    kept: Json = _without_times({key: value for key, value in status.items() if key not in _NOT_COMPARED})
    kept["conditions"] = {
        item["type"]: (item["status"], item.get("reason", "")) for item in status.get("conditions") or []
    }
    traffic = kept.get("traffic")
    if traffic is not None:
        # Which Services were meant is told; the versions that they had then are the API server's counting.
        traffic["intended"] = sorted(traffic.get("intended") or {})
    last = kept.get("lastUpgrade")
    if last is not None:
        last["timeline"] = [entry["phase"] for entry in last.get("timeline") or []]
        last.pop("message", None)
    migrations = kept.get("migrations")
    if migrations is not None:
        migrations.pop("message", None)
        # How long the ledger is and how many rows its users wrote is each run's own; that none is left is not.
        migrations.pop("ledgerLine", None)
        done, total = migrations.pop("rowsDone", None) or 0, migrations.pop("rowsTotal", None) or 0
        migrations["allRowsDone"] = done >= total
    after = kept.get("contractedAfter")
    if after is not None:
        # Where the log stood is each run's own.
        kept["contractedAfter"] = {key: after.get(key) for key in ("sessions", "pitr")}
    return kept


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not _TIME.search(key)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where two end states differ, one line each."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(set(expected) | set(found)):
            where = f"{path}.{key}" if path else str(key)
            if key not in found:
                yield f"{where} is missing"
            elif key not in expected:
                yield f"{where} is there, and is not without a crash"
            else:
                yield from differences(expected[key], found[key], where)
    elif expected != found:
        yield f"{path} is {json.dumps(found)}, without a crash {json.dumps(expected)}"
