"""Faults as data: on which requests, at which side of them, what happens, and how often."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from harness.writes import Call, Write

On = Literal["write", "effect", "read", "watch", "any"]
Side = Literal["before", "after"]
Do = Literal["kill", "stop", "hold", "answer", "delay", "drop"]


@dataclass
class Fault:
    """One rule. It fires at most `times` times (0: always), with `each_once` at most once for each point.

    An `effect` is a write to anything but a status, a Lease or an Event.
    `before`: the request is not forwarded yet; `after`: the server has answered, the client does not know it yet.
    `kill` ends the client with SIGKILL, `stop` suspends it with SIGSTOP (the request itself goes on), `hold` does the
    same and keeps the request until it is released, `answer` answers in the server's place, `delay` waits, `drop`
    closes the connection without an answer.
    """

    do: Do
    on: On = "any"
    side: Side = "before"
    points: tuple[str, ...] = ()
    path: str = ""
    times: int = 1
    each_once: bool = False
    status: int = 0
    body: str = ""
    content_type: str = "application/json"
    seconds: float = 0.0
    fired: list[str] = field(default_factory=list)

    def fits(self, call: Call, write: Write | None, point: str, side: Side) -> bool:
        """Whether it fires for this request at this side of it."""
        if side != self.side or (self.times and len(self.fired) >= self.times):
            return False
        if not _is(self.on, call, write) or (self.path and not re.search(self.path, call.path)):
            return False
        if self.points and point not in self.points:
            return False
        return not (self.each_once and (write.label if write else point) in self.fired)

    def fire(self, write: Write | None, point: str) -> None:
        """Note down that it fired here."""
        self.fired.append(write.label if write and self.each_once else point)


def first_fit(
    faults: Iterable[Fault], call: Call, write: Write | None, point: str, side: Side
) -> Fault | None:
    """The fault that happens to this request now, already counted; None when it may pass."""
    for fault in faults:
        if fault.fits(call, write, point, side):
            fault.fire(write, point)
            return fault
    return None


def as_json(fault: Fault) -> dict[str, Any]:
    return asdict(fault)


def from_json(raw: Mapping[str, Any]) -> Fault:
    """Raises TypeError for a key that no fault has, ValueError for a word that none knows."""
    known = {item.name for item in fields(Fault)}
    if unknown := set(raw) - known:
        raise TypeError(f"a fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    fault = Fault(**{**raw, "points": tuple(raw.get("points", ()))})
    for word, allowed in (
        (fault.do, ("kill", "stop", "hold", "answer", "delay", "drop")),
        (fault.on, ("write", "effect", "read", "watch", "any")),
        (fault.side, ("before", "after")),
    ):
        if word not in allowed:
            raise ValueError(f"{word!r} is none of {', '.join(allowed)}")
    return fault


def _is(on: On, call: Call, write: Write | None) -> bool:
    if on == "any":
        return True
    if on == "write":
        # A renewed lease is no step of anything; who wants it gone takes the server away.
        return write is not None and not write.renewal
    if on == "effect":
        return write is not None and write.counted and write.status is None
    return call.is_watch if on == "watch" else not call.is_watch and call.method == "GET"
