"""What is asked of the database: every statement of the API and of the worker, for either shape of the owner.

Each is one statement and so one transaction, names its columns (a prepared statement then survives an added
column), and can be repeated safely when the connection was lost before the answer came.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from mc.executions import Execution, Publication
from mc.query import DEFAULT_LIMIT, Condition, Operator, Query
from mc.shapes import Shape

_FILTERS = {"deny": "e.denied", "tenant": "e.tenant", "state": "e.state", "name": "e.name"}

# The tenant's row is counted up last: it is the row that a tenant's publications wait for one another on.
_PUBLISH = """
WITH published AS (
    INSERT INTO executions (id, tenant, name, denied, {columns})
    VALUES ($1, $2, $3, $4, {places})
    ON CONFLICT (id) DO NOTHING
    RETURNING tenant
)
INSERT INTO tenants AS t (tenant, executions)
SELECT tenant, 1 FROM published
ON CONFLICT (tenant) DO UPDATE SET executions = t.executions + 1
RETURNING t.tenant
"""

_SELECT = """
SELECT e.id, e.tenant, {owner} AS owner, e.name, e.denied, e.state, e.created_at, e.started_at, e.finished_at
FROM executions e
"""

_START = """
WITH started AS (
    UPDATE executions SET state = 'running', started_at = now()
    WHERE id = $1 AND state = 'queued' AND NOT denied
    RETURNING extract(epoch FROM now() - created_at)::float8 AS waited
)
SELECT e.state, e.denied, (SELECT waited FROM started) AS waited FROM executions e WHERE e.id = $1
"""

# Rows locked by someone else, a backfill or another worker, are passed over: a worker waits for no row.
_CLAIM = """
WITH next AS (
    SELECT id FROM executions WHERE state = 'queued' AND NOT denied
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE executions e SET state = 'running', started_at = now() FROM next WHERE e.id = next.id
RETURNING extract(epoch FROM now() - e.created_at)::float8 AS waited
"""

_FINISH = """
WITH due AS (
    SELECT id FROM executions WHERE state = 'running' AND started_at < now() - $2::interval
    ORDER BY started_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE executions e SET state = 'finished', finished_at = now() FROM due WHERE e.id = due.id
RETURNING extract(epoch FROM now() - e.started_at)::float8 AS ran
"""

# Counted up to a bound: a queue of millions must not cost the worker its time.
_QUEUE_LENGTH = """
SELECT count(*) FROM (SELECT 1 FROM executions WHERE state = 'queued' AND NOT denied LIMIT $1) queued
"""


class Connection(Protocol):
    """What the statements need of asyncpg's connections."""

    async def fetch(self, query: str, /, *args: object) -> list[Any]: ...
    async def fetchrow(self, query: str, /, *args: object) -> Any: ...
    async def fetchval(self, query: str, /, *args: object) -> Any: ...


class Published(Enum):
    CREATED = "created"
    REPEATED = "repeated"
    # The id is taken by an execution that says something else.
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Started:
    state: str
    denied: bool
    # How long it had waited, if it was this call that started it.
    waited_seconds: float | None


class Store:
    """The statements of one version. Holds no connection: each call is given one."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        places = ", ".join(f"${number}" for number in range(5, 5 + len(shape.owner_columns)))
        self._publish = _PUBLISH.format(columns=", ".join(shape.owner_columns), places=places)
        self._select = _SELECT.format(owner=shape.owner_text)
        self._get = self._select + "WHERE e.id = $1"

    async def publish(self, connection: Connection, publication: Publication) -> Published:
        values = (publication.id, publication.tenant, publication.name, publication.denied)
        owner_values = self._shape.owner_values(publication.owner)
        if await connection.fetchval(self._publish, *values, *owner_values) is not None:
            return Published.CREATED
        kept = await self.get(connection, publication.id)
        return Published.REPEATED if kept is not None and kept.is_of(publication) else Published.TAKEN

    async def get(self, connection: Connection, execution_id: UUID) -> Execution | None:
        row = await connection.fetchrow(self._get, execution_id)
        return Execution(*row.values()) if row is not None else None

    async def find(self, connection: Connection, query: Query) -> list[Execution]:
        statement, values = self.find_statement(query)
        return [Execution(*row.values()) for row in await connection.fetch(statement, *values)]

    def find_statement(self, query: Query) -> tuple[str, list[object]]:
        values: list[object] = []
        wheres = list(self._wheres(query, values))
        where = f"WHERE {' AND '.join(wheres)}\n" if wheres else ""
        values.append(query.limit or DEFAULT_LIMIT)
        return f"{self._select}{where}ORDER BY e.created_at DESC LIMIT ${len(values)}", values

    def _wheres(self, query: Query, values: list[object]) -> Iterator[str]:
        for condition in query.conditions:
            values.append(condition.value)
            yield self._where(condition, len(values))
        if query.since is not None:
            values.append(query.since)
            yield f"e.created_at >= now() - ${len(values)}::interval"

    def _where(self, condition: Condition, place: int) -> str:
        field = self._shape.owner_text if condition.field == "owner" else _FILTERS[condition.field]
        operator = "=" if condition.operator is Operator.EQUAL else "<>"
        return f"({field}) {operator} ${place}"

    async def start(self, connection: Connection, execution_id: UUID) -> Started | None:
        row = await connection.fetchrow(_START, execution_id)
        if row is None:
            return None
        waited: float | None = row["waited"]
        return Started("running" if waited is not None else row["state"], row["denied"], waited)

    async def claim(self, connection: Connection, at_most: int) -> list[float]:
        """Start queued executions, oldest first, and tell how many seconds each had waited."""
        return [row["waited"] for row in await connection.fetch(_CLAIM, at_most)]

    async def finish(self, connection: Connection, at_most: int, ran_for: timedelta) -> list[float]:
        """Finish executions that have run for so long, and tell how many seconds each ran."""
        return [row["ran"] for row in await connection.fetch(_FINISH, at_most, ran_for)]

    async def queue_length(self, connection: Connection, at_most: int) -> int:
        length: int = await connection.fetchval(_QUEUE_LENGTH, at_most)
        return length
