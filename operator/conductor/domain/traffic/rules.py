"""HTTPRoute rules as a release reads and writes them: which backends are its own, and how they are weighed.

A backend that names a Service of the release leads wherever that Service does: that is what users write, and what they
get back. While users are moved it is replaced, in its place, by the two Services of the colours, with weights that
count to 100. Whatever else stands in a rule is its owner's and is kept word for word.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conductor.api.names import colour_service_name
from conductor.api.spec import Colour
from conductor.domain.snapshot import RouteRule, RouteState

Backend = Mapping[str, Any]
#: Of one backend where none is written, as the API server sets it.
_USUAL_WEIGHT = 1
WHOLE = 100


@dataclass(frozen=True)
class Own:
    """A backend of the release: the Service that it stands for, and the colour if it names that one's alone."""

    service: str
    colour: Colour | None


def own_backends(services: Iterable[str]) -> dict[str, Own]:
    """Every name by which a backend of these Services is known."""
    known: dict[str, Own] = {}
    for service in services:
        known[service] = Own(service, None)
        for colour in Colour:
            known[colour_service_name(service, colour)] = Own(service, colour)
    return known


def own(backend: Backend, known: Mapping[str, Own], namespace: str) -> Own | None:
    """What a backend is to the release; None where it is somebody else's."""
    here = backend.get("namespace") in (None, "", namespace)
    plain = backend.get("kind") in (None, "", "Service") and not backend.get("group")
    return known.get(str(backend.get("name"))) if here and plain else None


def weight_of(backend: Backend) -> int:
    """The weight that the API server reads."""
    weight = backend.get("weight")
    return _USUAL_WEIGHT if weight is None else int(weight)


def weighed(
    rule: RouteRule, known: Mapping[str, Own], namespace: str, weights: Mapping[str, Mapping[Colour, int]]
) -> tuple[dict[str, Any], ...]:
    """The rule's backends with those Services led to by colour, at these weights."""

    def pair(found: Own, first: Backend) -> list[dict[str, Any]]:
        return [
            {**first, "name": colour_service_name(found.service, colour), "weight": weight}
            for colour, weight in sorted(weights[found.service].items())
        ]

    return _replaced(rule, known, namespace, frozenset(weights), pair)


def given_back(
    rule: RouteRule, known: Mapping[str, Own], namespace: str, kept: Sequence[Backend]
) -> tuple[dict[str, Any], ...]:
    """The rule's backends as their owner wrote them, or, where nobody knows that any more, in the plainest way."""
    written = {
        found.service: backend for backend in kept if (found := own(backend, known, namespace)) is not None
    }

    def former(found: Own, first: Backend) -> list[dict[str, Any]]:
        theirs = written.get(found.service)
        if theirs is not None and theirs.get("port") == first.get("port"):
            return [dict(theirs)]
        return [{**first, "name": found.service, "weight": _USUAL_WEIGHT}]

    coloured = frozenset(
        found.service
        for backend in rule.backends
        if (found := own(backend, known, namespace)) is not None and found.colour is not None
    )
    return _replaced(rule, known, namespace, coloured, former)


def _replaced(
    rule: RouteRule, known: Mapping[str, Own], namespace: str, services: frozenset[str], new: Any
) -> tuple[dict[str, Any], ...]:
    result: list[dict[str, Any]] = []
    done: set[str] = set()
    for backend in rule.backends:
        found = own(backend, known, namespace)
        if found is None or found.service not in services:
            result.append(dict(backend))
        elif found.service not in done:
            done.add(found.service)
            result += new(found, backend)
    return tuple(result)


def kept_of(route: RouteState) -> dict[int, list[Backend]]:
    """What the owner of a route wrote, by rule; empty where that cannot be read any more."""
    try:
        read = json.loads(route.kept) if route.kept else {}
        return {int(index): list(backends) for index, backends in read.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def keep(route: RouteState, known: Mapping[str, Own], namespace: str, rules: Iterable[int]) -> str:
    """What is to be kept before these rules are written: a backend that the owner wrote last is what is given back."""
    former = kept_of(route)
    kept = {}
    for index in rules:
        backends = route.rules[index].backends
        named = [own(backend, known, namespace) for backend in backends]
        written = all(found is None or found.colour is None for found in named)
        if written or index in former:
            kept[str(index)] = list(backends) if written else former[index]
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def renumbered(kept: str, removed: Sequence[int]) -> str:
    """The same once these rules are gone: whoever wrote rules behind them finds theirs further to the front."""
    if not removed:
        return kept
    try:
        former = json.loads(kept)
        moved = {
            str(int(index) - sum(gone < int(index) for gone in removed)): former[index] for index in former
        }
    except (ValueError, TypeError):
        return kept
    return json.dumps(moved, sort_keys=True, separators=(",", ":"))


def told(rules: Iterable[Sequence[Backend]]) -> str:
    """Where rules lead, in a word without commas: `mc-api-blue:90+mc-api-green:10`."""
    return "+".join(
        sorted({f"{backend.get('name')}:{weight_of(backend)}" for rule in rules for backend in rule})
    )
