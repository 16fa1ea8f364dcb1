"""A database's catalogue as a set of items that can be compared: what the application could miss, or be stopped by."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

_OWN_SCHEMAS = """
    n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'maestro_conductor')
"""

_QUERY = """
SELECT 'relation', c.oid::text, n.nspname || '.' || c.relname,
       jsonb_build_object('kind', c.relkind, 'rights', c.relacl::text[], 'row_security', c.relrowsecurity,
                          'filenode', pg_relation_filenode(c.oid),
                          'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND OWN_SCHEMAS
UNION ALL
SELECT 'column', c.oid || ':' || a.attnum, n.nspname || '.' || c.relname || '.' || a.attname,
       jsonb_build_object('relation', c.oid::text, 'type', format_type(a.atttypid, a.atttypmod),
                          'required', a.attnotnull,
                          'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity,
                          'generated', a.attgenerated)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND OWN_SCHEMAS
UNION ALL
SELECT 'constraint', o.oid::text,
       n.nspname || '.' || coalesce(c.relname, t.typname, '') || '.' || o.conname,
       jsonb_build_object('relation', nullif(o.conrelid, 0)::text, 'domain', nullif(o.contypid, 0)::text,
                          'kind', o.contype, 'columns', coalesce(o.conkey, '{}'), 'index', nullif(o.conindid, 0)::text,
                          'definition', replace(pg_get_constraintdef(o.oid), ' NOT VALID', ''), 'valid', o.convalidated)
FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace
     LEFT JOIN pg_class c ON c.oid = o.conrelid LEFT JOIN pg_type t ON t.oid = o.contypid
WHERE o.contype IN ('c', 'f', 'p', 'u', 'x') AND OWN_SCHEMAS
UNION ALL
SELECT 'index', i.indexrelid::text, n.nspname || '.' || c.relname,
       jsonb_build_object('relation', i.indrelid::text, 'unique', i.indisunique, 'columns', i.indkey::int2[],
                          'valid', i.indisvalid, 'definition', pg_get_indexdef(i.indexrelid))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE OWN_SCHEMAS
UNION ALL
SELECT 'trigger', g.oid::text, n.nspname || '.' || c.relname || '.' || g.tgname,
       jsonb_build_object('relation', g.tgrelid::text, 'enabled', g.tgenabled, 'definition', pg_get_triggerdef(g.oid))
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND OWN_SCHEMAS
UNION ALL
SELECT 'function', p.oid::text,
       n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       jsonb_build_object('definition', CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE OWN_SCHEMAS
UNION ALL
SELECT 'type', t.oid::text, n.nspname || '.' || t.typname,
       jsonb_build_object('kind', t.typtype, 'required', t.typnotnull, 'base', format_type(t.typbasetype, t.typtypmod),
                          'labels', (SELECT coalesce(jsonb_agg(e.enumlabel ORDER BY e.enumsortorder), '[]')
                                     FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd') AND OWN_SCHEMAS
""".replace("OWN_SCHEMAS", _OWN_SCHEMAS)
_STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
_LOCKED = """
SELECT l.relation::text, max(l.mode) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm')
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.mode = ANY (%s)
GROUP BY l.relation
"""
_SCANS = """
SELECT c.oid::text,
       pg_stat_get_xact_numscans(c.oid) + coalesce((SELECT sum(pg_stat_get_xact_numscans(i.indexrelid))::bigint
                                                    FROM pg_index i WHERE i.indrelid = c.oid), 0)
FROM pg_class c WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace <> 'pg_catalog'::regnamespace
"""


@dataclass(frozen=True)
class Item:
    """One thing of the catalogue. `identity` stays when it is renamed, `name` stays when it is made anew."""

    kind: str
    identity: str
    name: str
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.name.removeprefix('public.')}"


@dataclass(frozen=True)
class Catalogue:
    items: tuple[Item, ...]

    def by_identity(self) -> dict[tuple[str, str], Item]:
        return {(item.kind, item.identity): item for item in self.items}

    def by_name(self) -> dict[tuple[str, str], Item]:
        return {(item.kind, item.name): item for item in self.items}


def read_catalogue(connection: Connection[Any]) -> Catalogue:
    rows = connection.execute(_QUERY.encode()).fetchall()
    return Catalogue(tuple(Item(*row) for row in sorted(rows, key=lambda row: (row[0], row[2]))))


def packed(catalogue: Catalogue) -> str:
    """As text, for where a few kilobytes can be kept."""
    items = [[item.kind, item.identity, item.name, item.facts] for item in catalogue.items]
    return base64.b64encode(zlib.compress(json.dumps(items).encode(), 9)).decode()


def unpacked(text: str) -> Catalogue:
    """What `packed` made of it."""
    items = json.loads(zlib.decompress(base64.b64decode(text)))
    return Catalogue(tuple(Item(*item) for item in items))


def scans(connection: Connection[Any]) -> dict[str, int]:
    """How often this transaction has begun to read each table, by the table's oid."""
    return {row[0]: int(row[1] or 0) for row in connection.execute(_SCANS.encode()).fetchall()}


def strong_locks(connection: Connection[Any]) -> dict[str, str]:
    """The tables that this transaction keeps writers from, and the lock that does it."""
    rows = connection.execute(_LOCKED.encode(), (list(_STRONG),)).fetchall()
    return {row[0]: row[1] for row in rows}
