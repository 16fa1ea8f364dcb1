"""Which rule of a route takes a request in, as the Gateway API gives precedence."""

import json
import re
from collections.abc import Mapping

from conductor.adapters.kube import Object


def taking(route: Object, headers: Mapping[str, str]) -> list[Object]:
    """The rule that takes requests with these headers in, of each path: the most headers win, then the first one."""
    best: dict[str, tuple[int, Object]] = {}
    for rule in route["spec"]["rules"]:
        for match in rule.get("matches") or [{}]:
            asked = match.get("headers") or []
            path = json.dumps(match.get("path") or {}, sort_keys=True)
            if all(sent(headers, item) for item in asked) and len(asked) > best.get(path, (-1, rule))[0]:
                best[path] = len(asked), rule
    return [rule for _, rule in best.values()]


def sent(headers: Mapping[str, str], asked: Object) -> bool:
    """Whether a request with these headers has what a match asks for."""
    found = headers.get(asked["name"].lower())
    if found is None or asked.get("type", "Exact") == "Exact":
        return bool(found == asked["value"])
    return re.search(asked["value"], found) is not None
