"""The log of a story: what came from outside, the state in brief, what was decided and done.

Hashes are shown as versions and ids as numbers, so that a log reads the same whatever they are.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.unit.domain.machinery import Machinery, going, is_ready
from tests.unit.effects.memory_api import MemoryKube

from conductor.adapters.kube import Object
from conductor.api import names
from conductor.api.spec import Colour
from conductor.domain.plan import Plan, upgrade_id
from conductor.domain.situation import Refusing, Situation
from conductor.domain.snapshot import Snapshot

#: Follow from the version in every spec that stories use.
_GO_WITH_THE_VERSION = ("components", "migrations")
_LONGEST_VALUE = 150
#: A message longer than this is shortened where it is repeated.
_LONG, _SHORT = 80, 40


class Log:
    """Lines in the order of what happened; what repeats the line before is left out."""

    def __init__(
        self, kube: MemoryKube, machinery: Machinery, namespace: str, uid: str, now: datetime
    ) -> None:
        self.lines: list[str] = []
        self._kube = kube
        self._machinery = machinery
        self._namespace = namespace
        self._uid = uid
        self._begun_at = now
        self._last = ""
        self._told: list[str] = []
        self._names: dict[str, str] = {}

    def begin(self, now: datetime) -> None:
        """Forget what was told so far: the story begins here."""
        self.lines.clear()
        self._told.clear()
        self._begun_at, self._last = now, ""

    def decision(self, now: datetime, s: Snapshot, situation: Situation, decided: Plan) -> None:
        """One line for a pass."""
        reason, message = decided.status.reason, decided.status.message
        if isinstance(situation, Refusing):
            reason, message = situation.reason, situation.message
        words = f"{type(situation).__name__.lower():9} {reason}: {message}"
        effect = (
            f" | {decided.effect.name} {_cut(self._readable(decided.effect.subject))}"
            if decided.effect
            else ""
        )
        self._learn(s)
        said = self._readable(words + effect)
        if (told := f"{s.status.phase} {said}") != self._last:
            short = self._shortened(said, self._readable(message))
            self._line(now, f"{s.status.phase:13}  {self._users(s):20}  {short}")
        self._last = told

    def event(self, now: datetime, text: str) -> None:
        """Something that the operator did not do."""
        self._line(now, f">>> {self._readable(text)}")
        self._last = ""

    def _line(self, now: datetime, text: str) -> None:
        self.lines.append(f"{(now - self._begun_at).total_seconds():7.1f}s  {text}".rstrip())

    def _shortened(self, said: str, message: str) -> str:
        """A long message that was told in full is not told again."""
        for told in self._told:
            said = said.replace(told, f"{told[:_SHORT]}…")
        if len(message) > _LONG and message not in self._told:
            self._told.append(message)
        return said

    def _users(self, s: Snapshot) -> str:
        """By colour: ready pods that users are led to, of all ready pods behind Services."""
        led = {
            pod["metadata"]["name"]
            for service in self._kube.list("Service", self._namespace, f"{names.LABEL_RELEASE}={s.name}")
            if service["metadata"]["labels"].get(names.LABEL_ROLE) == names.ROLE_SERVING
            for pod in self._machinery.selected(service)
        }
        served = {
            component.name
            for revision in s.revisions.values()
            for component in revision.spec.components
            if component.services
        }
        words = []
        for colour in Colour:
            labels = f"{names.LABEL_RELEASE}={s.name},{names.LABEL_COLOUR}={colour}"
            ready = {
                pod["metadata"]["name"]
                for pod in self._kube.list("Pod", self._namespace, labels)
                if is_ready(pod)
                and not going(pod)
                and pod["metadata"]["labels"][names.LABEL_COMPONENT] in served
            }
            adopted = {hash_ for hash_, revision in s.revisions.items() if revision.adopted}
            ready |= {
                pod.name
                for pod in s.pods
                if pod.revision in adopted and pod.colour is colour and pod.ready and not pod.terminating
            }
            words.append(f"{colour} {len(ready & led)}/{len(ready)}")
        return " ".join(words)

    def _learn(self, s: Snapshot) -> None:
        """Names that hashes and ids stand for; a record may be gone by the time it is spoken of."""
        if s.spec is not None:
            self._names[s.digest] = f"[{s.spec.version}]"
        for hash_, revision in s.revisions.items():
            self._names[hash_] = f"[{revision.version}]"
        for number in range(1, s.status.sequence + 2):
            self._names[upgrade_id(self._uid, number)] = f"<upgrade {number}>"

    def _readable(self, text: str) -> str:
        for hash_, name in self._names.items():
            text = text.replace(hash_, name)
        return text


def changes(former: Mapping[str, Any], spec: Object) -> str:
    """What somebody changed in a spec, in brief."""
    moved = former.get("version") != spec.get("version")
    told = [
        f"{key} {_brief(spec.get(key, 'removed'))}"
        for key in ("version", *sorted({*former, *spec} - {"version"}))
        if former.get(key) != spec.get(key) and not (moved and key in _GO_WITH_THE_VERSION)
    ]
    return f"spec: {', '.join(told)}" if told else "the same spec is applied again"


def _brief(value: Any) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, separators=(", ", ": ")))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
