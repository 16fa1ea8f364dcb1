"""Requests through a Gateway itself: what is asked of its data plane, and what its answers prove of a switch.

Where a Gateway is reached is the administrator's word; nothing of it is read from the cluster. Before the switch the
version that serves has to answer there: only then is the new one waited for after it. A Gateway that cannot be asked
from here keeps nobody from upgrading, and proves nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from conductor.api.spec import HttpCheck
from conductor.domain.revision import Revision
from conductor.domain.routing import PROOF_ANSWERS
from conductor.domain.snapshot import ProbeSample, RouteState, Snapshot, policy
from conductor.domain.traffic.backends import Backends

#: Ways that are asked at most; more are proven by the route's status alone.
_MOST_WAYS = 64
_REWRITES = frozenset({"URLRewrite", "RequestRedirect"})
#: In place of the `*` of a hostname.
_SOME_HOST = "maestro-conductor"


@dataclass(frozen=True)
class Through:
    """One check of a revision as it is sent through a Gateway: to that host, with these headers."""

    check: HttpCheck
    host: str | None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Path:
    """One route through one Gateway, `namespace/name`, and what is asked there."""

    route: str
    gateway: str
    requests: tuple[Through, ...]

    @property
    def target(self) -> str:
        """What samples of it are known by."""
        return f"HTTPRoute {self.route} by Gateway {self.gateway}"


def paths(s: Snapshot, from_: Revision, to: Revision) -> tuple[Path, ...]:
    """Every way through a Gateway on which checks of `to` tell a version and change nothing."""
    backends = Backends(s, s.status.traffic.routes)
    checks = [
        check
        for check in policy(s, to).verification.http
        if check.method != "POST" and (check.version_header or check.version_json)
    ]
    found = (
        Path(route.name, gateway, requests)
        for route in backends.routes()
        if (requests := tuple(_requests(backends, route, checks, from_, to)))
        for gateway in sorted(set(route.parent_keys))
    )
    return tuple(islice(found, _MOST_WAYS))


def _requests(
    backends: Backends, route: RouteState, checks: list[HttpCheck], from_: Revision, to: Revision
) -> Iterator[Through]:
    host = next(iter(route.hostnames), None)
    for check in checks:
        rules = [
            met.rule
            for met in backends.met(from_, to)
            if met.route is route and met.own.service == check.service
        ]
        found = next((way for rule in rules for way in _ways(route.rules[rule].written, check)), None)
        if found is not None:
            yield Through(check, host.replace("*", _SOME_HOST, 1) if host else None, found)


def _ways(rule: Mapping[str, Any], check: HttpCheck) -> Iterator[tuple[tuple[str, str], ...]]:
    """Headers with which a rule takes that check in as it is; whether another rule does before it is seen by asking."""
    if any(item.get("type") in _REWRITES for item in rule.get("filters") or []):
        return
    for match in rule.get("matches") or [{}]:
        headers = match.get("headers") or []
        plain = not match.get("queryParams") and all(_plain(item) for item in headers)
        if (
            plain
            and match.get("method") in (None, check.method)
            and _under(match.get("path") or {}, check.path)
        ):
            yield tuple((str(item["name"]), str(item["value"])) for item in headers)


def _plain(header: Mapping[str, Any]) -> bool:
    value = str(header["value"])
    return header.get("type", "Exact") == "Exact" and value.isascii() and value.isprintable()


def _under(asked: Mapping[str, Any], path: str) -> bool:
    path, value = path.partition("?")[0], str(asked.get("value") or "/")
    match asked.get("type") or "PathPrefix":
        case "Exact":
            return path == value
        case "PathPrefix":
            return f"{path}/".startswith(value.rstrip("/") + "/")
        case _:
            return False


@dataclass(frozen=True)
class Asked:
    """What came of asking for the version that serves, by target: not answered yet, answered, or never by it."""

    open: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def asked(s: Snapshot, from_: Revision, to: Revision, since: datetime) -> Asked:
    """Of every way through a Gateway that the administrator named: others are not asked, and have no sample."""
    samples = [
        sample for path in paths(s, from_, to) if (sample := _since(s, path.target, since)) is not None
    ]
    return Asked(
        tuple(sample.target for sample in samples if not sample.sent),
        tuple(sample.target for sample in samples if sample.sent > sample.failed),
        tuple(
            f"{sample.target} ({sample.last_failure})"
            for sample in samples
            if 0 < sample.sent == sample.failed
        ),
    )


def gateway_gap(
    s: Snapshot, from_: Revision, to: Revision, answered: tuple[str, ...], since: datetime
) -> str | None:
    """Why requests through Gateways do not yet prove that `to` answers; None when they do.

    `answered`: those that answered before the switch. A way that is gone since then leads nobody.
    """
    for target in (path.target for path in paths(s, from_, to) if path.target in answered):
        sample = _since(s, target, since)
        if sample is None:
            return f"no answer through {target} since the switch"
        if sample.matched_in_a_row < PROOF_ANSWERS:
            tail = f" (last failure: {sample.last_failure})" if sample.last_failure else ""
            return f"{sample.matched_in_a_row} of {PROOF_ANSWERS} answers in a row through {target}{tail}"
    return None


def _since(s: Snapshot, target: str, since: datetime) -> ProbeSample | None:
    sample = s.probes.get(target)
    return sample if sample is not None and sample.at >= since and sample.since >= since else None
