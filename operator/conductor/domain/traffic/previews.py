"""Rules of an HTTPRoute by which requests that carry a mark reach the candidate before anybody is switched to it.

Behind all rules of its owner stands a copy of each one that leads to the release, with one header match more and the
candidate's own Service as its only backend: the more specific match wins, and no rule of the owner changes its place.
What they are known by is kept on the route, so that they are found and taken out whoever wrote there meanwhile.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conductor.api.names import colour_service_name
from conductor.api.spec import Colour
from conductor.api.traffic import Preview
from conductor.domain.snapshot import RouteRule, RouteState
from conductor.domain.traffic.rules import Own, own

Rule = Mapping[str, Any]
_EXACT, _REGULAR_EXPRESSION = "Exact", "RegularExpression"
_COOKIE = "Cookie"
#: What the API server sets where a rule has no matches.
_EVERYTHING: Rule = {"path": {"type": "PathPrefix", "value": "/"}}
#: Bounds of the API, of a route and of a match.
MOST_RULES, MOST_MATCHES, MOST_HEADERS = 16, 128, 16


@dataclass(frozen=True)
class Mark:
    """The header match that marks a request, and how people call it."""

    header: Mapping[str, str]
    told: str


def mark_of(preview: Preview) -> Mark:
    """A cookie stands among others in one header, so that only a regular expression finds it."""
    if preview.header is not None:
        name, value = preview.header.name, preview.header.value
        return Mark({"type": _EXACT, "name": name, "value": value}, f"header {name}: {value}")
    assert preview.cookie is not None
    name, value = preview.cookie.name, preview.cookie.value
    # For engines that look anywhere in the text, and for those that hold it against all of it.
    text = f"^(.*; *)?{name}={value}(;.*)?$"
    return Mark({"type": _REGULAR_EXPRESSION, "name": _COOKIE, "value": text}, f"cookie {name}={value}")


def preview_rules(
    rules: Sequence[RouteRule], known: Mapping[str, Own], namespace: str, mark: Mark, colour: Colour
) -> tuple[dict[str, Any], ...]:
    """The rules that are to stand behind these, in their order; a rule that leads to no such Service has none."""
    return tuple(
        _copy(rule.written, found, backend, mark, colour)
        for rule in rules
        if not rule.preview
        for backend, found in _led(rule, known, namespace)
    )


def _led(rule: RouteRule, known: Mapping[str, Own], namespace: str) -> Iterator[tuple[Rule, Own]]:
    """The first backend of the release in a rule, if there is one."""
    for backend in rule.backends:
        if (found := own(backend, known, namespace)) is not None:
            yield backend, found
            return


def _copy(rule: Rule, found: Own, backend: Rule, mark: Mark, colour: Colour) -> dict[str, Any]:
    matches = rule.get("matches") or [_EVERYTHING]
    marked = [{**match, "headers": [*(match.get("headers") or []), dict(mark.header)]} for match in matches]
    name = colour_service_name(found.service, colour)
    # A rule's name is to be its own, and whatever is bound to it by that name is bound to the owner's.
    rest = {key: value for key, value in rule.items() if key != "name"}
    return {**rest, "matches": marked, "backendRefs": [{**backend, "name": name, "weight": 1}]}


def record(mark: Mark, known: Mapping[str, Own], rules: Sequence[Rule]) -> str:
    """By what these rules are known, and what they are made from, as it is kept on the route."""
    text = json.dumps(rules, sort_keys=True, separators=(",", ":"))
    kept = {
        "header": dict(mark.header),
        "rules": hashlib.sha256(text.encode()).hexdigest()[:12],
        "services": sorted(known),
    }
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def is_preview(rule: Rule, kept: str) -> bool:
    """Whether we put that rule there: every match has the mark, and it leads to Services of the release alone."""
    try:
        read = json.loads(kept) if kept else None
        mark, services = (read["header"], frozenset(read["services"])) if read else ({}, frozenset())
        key = _key(mark) if mark else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    backends, matches = rule.get("backendRefs") or [], rule.get("matches") or []
    return (
        key is not None
        and bool(backends)
        and all(backend.get("name") in services for backend in backends)
        and bool(matches)
        and all(any(_key(header) == key for header in match.get("headers") or []) for match in matches)
    )


def _key(header: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(header["name"]).lower(), str(header.get("type") or _EXACT), str(header["value"])


def misfit(
    route: RouteState, known: Mapping[str, Own], namespace: str, mark: Mark, field: str
) -> Iterator[str]:
    """Why such rules cannot stand on this route, with the mend. `field` names the route."""
    owners = [rule for rule in route.rules if not rule.preview]
    led = [
        index
        for index, rule in enumerate(route.rules)
        if not rule.preview and any(_led(rule, known, namespace))
    ]
    if (rules := len(owners) + len(led)) > MOST_RULES:
        yield (
            f"{field} has {len(owners)} rules, and for previews by {mark.told} {len(led)} more would stand there: "
            f"{rules}, and a route holds {MOST_RULES}; put rules into a route of their own, or take "
            "spec.traffic.preview out"
        )
    matches = sum(len(rule.written.get("matches") or [_EVERYTHING]) for rule in owners)
    copies = sum(len(route.rules[index].written.get("matches") or [_EVERYTHING]) for index in led)
    if matches + copies > MOST_MATCHES:
        yield (
            f"{field} has {matches} matches, and for previews by {mark.told} {copies} more would stand there: a route "
            f"holds {MOST_MATCHES}; put rules into a route of their own, or take spec.traffic.preview out"
        )
    for index in led:
        for number, match in enumerate(route.rules[index].written.get("matches") or []):
            where = f"{field}, rules[{index}].matches[{number}].headers"
            headers = match.get("headers") or []
            if any(str(item.get("name")).lower() == mark.header["name"].lower() for item in headers):
                yield (
                    f"{where} has {mark.header['name']} already, and a match holds a header once; mark previews by "
                    "another header in spec.traffic.preview"
                )
            elif len(headers) >= MOST_HEADERS:
                yield f"{where}: {len(headers)} are as many as there can be; take one out, or spec.traffic.preview"
