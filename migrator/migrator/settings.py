"""Settings of a run, read from the environment. Each has a default that suits a busy production database."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from migrator.stops import Reason, Refused

REFUSE, WARN = "refuse", "warn"
_MOST = 10_000_000_000


@dataclass(frozen=True)
class Limits:
    """How long the runner waits and how much it does at once; set by `MIGRATOR_` + the field's name."""

    connect_seconds: int = 20
    """for the database to answer at all"""
    lock_wait_seconds: int = 15
    """for another runner of the same attempt to end"""
    lock_timeout_ms: int = 500
    """for a lock on a table: what queues behind us waits no longer than this"""
    statement_timeout_ms: int = 5_000
    """for one statement of expand, contract and backout while it holds its locks"""
    batch_timeout_ms: int = 30_000
    """for one batch"""
    query_timeout_ms: int = 900_000
    """for the divergence query, which locks nothing"""
    online_timeout_ms: int = 14_400_000
    """for one statement of online.sql, which locks nobody out"""
    online_lock_timeout_ms: int = 60_000
    """for each lock that such a statement asks for, among them those of all older transactions on its table"""
    tries: int = 12
    """at a transaction whose lock was not granted"""
    backoff_ms: int = 200
    """before the second try; doubled from try to try, at most 5 s"""
    batch_rows: int = 2_000
    """of one batch; read by migrate.sql as maestro_conductor.batch_rows"""
    pause_ms: int = 20
    """between batches, for the users' queries and the replicas"""
    progress_ms: int = 1_000
    """between two lines of progress"""
    max_lag_bytes: int = 64_000_000
    """of WAL that a replica may be behind; a backfill waits while one is further behind"""
    replica_wait_seconds: int = 60
    """for a replica to have what it must have"""
    fence_wait_seconds: int = 30
    """for the sessions of a fenced login to end, on each server"""
    archive_wait_seconds: int = 15
    """for the WAL of the moment before a contract step to be archived; it goes on without"""


@dataclass(frozen=True)
class Settings:
    database_url: str
    replica_urls: tuple[str, ...]
    termination_log: Path
    migrations: Path
    adopt_from: str
    star_readers: str
    progress_port: int
    limits: Limits


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raise Refused where a number is none; a missing DATABASE_URL is found where it is used."""
    return Settings(
        database_url=environment.get("DATABASE_URL", ""),
        replica_urls=tuple(
            url for name, url in sorted(environment.items()) if name.startswith("REPLICA_URL") and url.strip()
        ),
        termination_log=termination_log(environment),
        migrations=Path(environment.get("MIGRATOR_MIGRATIONS", "/migrations")),
        adopt_from=environment.get("MIGRATOR_ADOPT_FROM", ""),
        progress_port=_number(environment, "progress_port", 0, least=0, most=65_535),
        star_readers=_star_readers(environment),
        limits=Limits(
            **{field.name: _number(environment, field.name, field.default) for field in fields(Limits)}
        ),
    )


def _star_readers(environment: Mapping[str, str]) -> str:
    said = environment.get("MIGRATOR_STAR_READERS", REFUSE)
    if said not in (REFUSE, WARN):
        raise Refused(
            Reason.SETTING_INVALID,
            f"MIGRATOR_STAR_READERS={said!r} is neither {REFUSE} nor {WARN}",
            f"say which, or leave it out for {REFUSE}",
        )
    return said


def termination_log(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("TERMINATION_LOG", "/dev/termination-log"))


def _number(
    environment: Mapping[str, str], name: str, default: object, least: int = 1, most: int = _MOST
) -> int:
    assert isinstance(default, int)
    key = f"MIGRATOR_{name.upper()}"
    text = environment.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise Refused(
            Reason.SETTING_INVALID,
            f"{key}={text!r} is not a whole number from {least} to {most}",
            f"give a number, or leave it out for the default of {default}",
        )
    return int(text)
