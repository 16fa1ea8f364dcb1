"""Canonical names of what the operator writes: the same upgrade run twice gives the same names in the same order.

Read off the requests themselves, so that a transition which the operator learns tomorrow has a name today.
Hashes, ids and colours become roles (`<from>`, `<to>`), because they differ from run to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RELEASES = "controlplanereleases"
#: Plurals that the operator writes, and a singular that reads well; any other plural stands for itself.
KINDS: Mapping[str, str] = {
    RELEASES: "Release",
    "deployments": "Deployment",
    "controllerrevisions": "ControllerRevision",
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "jobs": "Job",
    "events": "Event",
    "leases": "Lease",
}
RECEIPTS = "-receipts-"
VERBS: Mapping[str, str] = {"POST": "create", "PUT": "replace", "DELETE": "delete"}
PATCHES: Mapping[str, str] = {
    "application/apply-patch+yaml": "apply",
    "application/json-patch+json": "patch",
    "application/merge-patch+json": "merge",
}
_PATH = re.compile(
    r"^/(?:api/[^/]+|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)
_REVISION = re.compile(r"(?<![0-9a-f])[0-9a-f]{10}(?![0-9a-f])")
_UPGRADE = re.compile(r"(?<![0-9a-z])u[0-9a-f]{8}(?![0-9a-z])")
_COLOUR = re.compile(r"(?<![a-z])(?:blue|green)(?![a-z])")
_POD = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}$")
#: The operator cuts the subject of an intent here; what was cut off ends in an ellipsis.
SUBJECT_LENGTH = 250
CUT = "…"

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    body: bytes = b""

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in ("true", "1")

    @property
    def is_write(self) -> bool:
        """Whether it changes anything; a dry run does not."""
        return self.method != "GET" and "dryRun" not in self.query


@dataclass(frozen=True)
class Write:
    """A write with its name. `counted`: it comes the same number of times in every run, so that the second is told
    from the first; what only waits comes as often as its wait takes."""

    label: str
    counted: bool
    namespace: str
    renewal: bool = False
    status: Json | None = None
    #: Name and number of transitions, where it is a Lease that changes hands.
    lease: tuple[str, int] | None = None


class Namer:
    """Names writes; remembers the newest status of each namespace's release, because roles follow from it."""

    def __init__(self) -> None:
        self._statuses: dict[str, Json] = {}
        self._transitions: dict[tuple[str, str], int] = {}

    def name(self, call: Call) -> Write | None:
        """The write that a request is; None for reads, dry runs and paths that hold no object."""
        found = _PATH.match(call.path) if call.is_write else None
        if found is None:
            return None
        namespace, plural = found["namespace"] or "", found["plural"]
        body = _parsed(call.body)
        if plural == "leases":
            return self._lease(namespace, found["name"] or "", body)
        if plural == RELEASES and found["subresource"] == "status":
            return self._status(namespace, body)
        if plural == "events":
            return Write(f"create Event {body.get('reason', '')}", False, namespace)
        name = found["name"] or body.get("metadata", {}).get("name", "")
        verb = VERBS.get(call.method) or PATCHES.get(call.content_type.split(";")[0], "patch")
        subresource = f"/{found['subresource']}" if found["subresource"] else ""
        if plural == "configmaps" and RECEIPTS in name:
            # Kept in the background: how many of them one write takes along is a matter of time.
            phase = self._statuses.get(namespace, {}).get("phase", "none")
            return Write(f"{verb} receipts in {phase}", False, namespace)
        kind = KINDS.get(plural, plural)
        shown = self._role_names(namespace, _POD.sub("-<pod>", name) if plural == "pods" else name)
        return Write(f"{verb} {kind}/{shown}{subresource}{_detail(verb, kind, body)}", True, namespace)

    def accepted(self, write: Write) -> None:
        """The API server took the write; what comes next is named in its light."""
        if write.status is not None:
            self._statuses[write.namespace] = write.status
        if write.lease is not None:
            lease, transitions = write.lease
            self._transitions[write.namespace, lease] = transitions

    def _lease(self, namespace: str, name: str, body: Json) -> Write:
        spec = body.get("spec") or {}
        if not spec:
            # Replicas that share shards tell each other that they live.
            return Write("renew members", False, namespace, renewal=True)
        if not spec.get("holderIdentity"):
            return Write("give back Lease", False, namespace)
        lease, transitions = name or body["metadata"]["name"], int(spec.get("leaseTransitions") or 0)
        if self._transitions.get((namespace, lease)) == transitions:
            return Write("renew Lease", False, namespace, renewal=True)
        return Write("acquire Lease", False, namespace, lease=(lease, transitions))

    def _status(self, namespace: str, body: Json) -> Write:
        status: Json = body.get("status") or {}
        former = self._statuses.get(namespace)
        upgrade = status.get("upgrade") or {}
        where = f"status {status.get('phase', 'none')}/{status.get('reason', 'none')}"
        intent = upgrade.get("intent") or {}
        if intent and intent != ((former or {}).get("upgrade") or {}).get("intent"):
            given = intent.get("subject", "")
            subject = _subject(self._role_names(namespace, given, status), whole=len(given) < SUBJECT_LENGTH)
            return Write(f"{where} intends {intent['effect']} {subject}", True, namespace, status=status)
        if former is not None and _milestones(former) == _milestones(status):
            told = "new epoch" if former.get("epoch") != status.get("epoch") else "again"
            return Write(f"{where} ({told})", False, namespace, status=status)
        return Write(where, False, namespace, status=status)

    def _role_names(self, namespace: str, text: str, status: Json | None = None) -> str:
        revisions, colours = roles(status or self._statuses.get(namespace) or {})
        text = _UPGRADE.sub("<upgrade>", text)
        text = _REVISION.sub(lambda found: revisions.get(found[0], "<other>"), text)
        return _COLOUR.sub(lambda found: colours.get(found[0], "<colour>"), text)


def roles(status: Json) -> tuple[dict[str, str], dict[str, str]]:
    """What each revision and each colour is in the upgrade under way, or at rest."""
    upgrade = status.get("upgrade")
    if upgrade:
        revisions = {upgrade.get("fromRevision", ""): "<from>", upgrade.get("toRevision", ""): "<to>"}
        colours = {upgrade.get("fromColour", ""): "<from>", upgrade.get("toColour", ""): "<to>"}
    else:
        current = (status.get("traffic") or {}).get("current", "")
        revisions = {status.get("activeRevision", ""): "<active>"}
        colours = {colour: "<active>" if colour == current else "<idle>" for colour in ("blue", "green")}
    return revisions, colours


def _milestones(status: Json) -> tuple[Any, ...]:
    """What makes a status write a transition; verdicts, messages and conditions only tell how the wait goes."""
    upgrade = status.get("upgrade") or {}
    last = status.get("lastUpgrade") or {}
    return (
        *(
            status.get(key)
            for key in ("phase", "reason", "activeRevision", "failedDigest", "handledCommands")
        ),
        *(upgrade.get(key) for key in ("id", "intent", "step", "attempt", "failure", "switchedBackAt")),
        last.get("id"),
    )


def _detail(verb: str, kind: str, body: Any) -> str:
    """What of the body tells two writes to one object apart."""
    if verb != "merge":
        return ""
    replicas = (body.get("spec") or {}).get("replicas")
    if replicas is not None:
        return f" replicas={replicas}"
    metadata = body.get("metadata") or {}
    if any(key.endswith("/epoch") for key in metadata.get("annotations") or {}):
        return " epoch"
    if kind == "Release" and "finalizers" in metadata:
        return " finalizers"
    return ""


def _subject(text: str, *, whole: bool) -> str:
    """A subject without the pods' own names, each kind of pod once: how many there are is a matter of time."""
    items = text.split(",")
    if not whole:
        items[-1] = CUT
    return ",".join(dict.fromkeys(_POD.sub("-<pod>", item) for item in items))


def _parsed(body: bytes) -> Any:
    try:
        read = json.loads(body) if body else {}
    except ValueError:
        return {}
    # A JSON patch is a list of operations; it names nothing that its path does not.
    return read if isinstance(read, dict) else {}
