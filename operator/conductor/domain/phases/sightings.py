"""What a Job's answer shows of the database's servers: which one keeps the ledger, and how its replicas stand.

People read it and nothing is decided on it, so what cannot be read is left out: never is it why a step failed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from conductor.api.status import LedgerLine, ReplicaStatus, Short, Timeline

REPLICAS = 8
_SHORT = 253
_TEXT: TypeAdapter[str] = TypeAdapter(Short)
_TIMELINE: TypeAdapter[int] = TypeAdapter(Timeline)
_LINE: TypeAdapter[int] = TypeAdapter(LedgerLine)
FIELDS = frozenset({"systemId", "timeline", "replicas"})


def of_servers(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of MigrationsStatus about servers, by their names in it."""
    found: dict[str, Any] = {
        "system_id": _valid(_TEXT, answer.get("systemId")),
        "timeline": _valid(_TIMELINE, answer.get("timeline")),
        "replicas": tuple(_replicas(answer.get("replicas"))),
    }
    return {name: value for name, value in found.items() if value}


def _replicas(told: Any) -> Iterator[ReplicaStatus]:
    for one in told[:REPLICAS] if isinstance(told, list) else ():
        if not isinstance(one, dict):
            continue
        endpoint, state = one.get("endpoint"), _valid(_TEXT, one.get("state"))
        if not isinstance(endpoint, str) or not endpoint or not state:
            continue
        yield ReplicaStatus(
            endpoint=endpoint[:_SHORT],
            state=state,
            lsn=_valid(_TEXT, one.get("lsn")) or "",
            ledger_line=_valid(_LINE, one.get("ledgerLine")),
            timeline=_valid(_TIMELINE, one.get("timeline")),
        )


def _valid(kind: TypeAdapter[Any], value: Any) -> Any:
    """None where it is not of that kind: `true` is no number, and a number no text."""
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError:
        return None
