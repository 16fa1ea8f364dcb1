"""The ledger's own schema, created and brought up to date by the runner: schema `maestro_conductor`.

`events` is append-only and the truth about migrations: `phase` says what was being done, `state` what the
version reached by it (NULL where nothing changed). `fence` is one row: who may write now. `ledger_version`
says how new this schema is; a runner never writes to one newer than itself. `permits` are those that a
contract step consumed. What each column means stands in docs/ledger.md.
"""

from typing import Any

from psycopg import Connection

from migrator.stops import Reason, Refused

# Advisory locks are per database, and one database belongs to one control plane.
# The first number is "mc" followed by "lg", in ASCII: nobody's by accident.
LOCK_SPACE = 0x6D636C67
SCHEMA_LOCK = 1
RUNNER_LOCK = 2

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE maestro_conductor.events (
        seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        committed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        control_plane text        NOT NULL,
        upgrade       text        NOT NULL,
        attempt       integer     NOT NULL,
        fence         bigint      NOT NULL,
        phase         text        NOT NULL CHECK (phase IN ('expand', 'migrate', 'contract', 'backout')),
        event         text        NOT NULL CHECK (event IN ('started', 'batch', 'applied', 'failed')),
        version       text,
        state         text        CHECK (state IN ('expanded', 'migrated', 'contracted', 'backed-out')),
        from_version  text        NOT NULL,
        to_version    text        NOT NULL,
        digests       jsonb       NOT NULL DEFAULT '{}',
        cursor        text,
        rows_done     bigint,
        divergence    bigint,
        message       text        NOT NULL DEFAULT ''
    );
    CREATE INDEX events_version ON maestro_conductor.events (version, event, seq DESC);
    CREATE INDEX events_upgrade ON maestro_conductor.events (upgrade);

    CREATE FUNCTION maestro_conductor.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'maestro_conductor.events is append-only: % refused', TG_OP;
    END $$;
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON maestro_conductor.events
        FOR EACH STATEMENT EXECUTE FUNCTION maestro_conductor.refuse_change();

    CREATE TABLE maestro_conductor.fence (
        only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
        control_plane text        NOT NULL,
        token         bigint      NOT NULL,
        upgrade       text        NOT NULL,
        phase         text        NOT NULL,
        attempt       integer     NOT NULL,
        backend_pid   integer     NOT NULL,
        taken_at      timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    """,
    # Columns are only added, and may be left out: a runner of the version before may be at work meanwhile.
    """
    ALTER TABLE maestro_conductor.events
        ADD COLUMN object      text NOT NULL DEFAULT '',
        ADD COLUMN schema_from text,
        ADD COLUMN schema_to   text,
        ADD COLUMN system_id   text,
        ADD COLUMN timeline    bigint,
        DROP CONSTRAINT events_event_check,
        ADD CONSTRAINT events_event_check CHECK (event IN
            ('started', 'batch', 'intent', 'performed', 'applied', 'failed', 'failed-over'));

    CREATE OR REPLACE FUNCTION maestro_conductor.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP;
    END $$;

    CREATE TABLE maestro_conductor.permits (
        permit        text        PRIMARY KEY,
        control_plane text        NOT NULL,
        upgrade       text        NOT NULL,
        from_version  text        NOT NULL,
        to_version    text        NOT NULL,
        attempt       integer     NOT NULL,
        fence         bigint      NOT NULL,
        consumed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON maestro_conductor.permits
        FOR EACH STATEMENT EXECUTE FUNCTION maestro_conductor.refuse_change();
    """,
    """
    ALTER TABLE maestro_conductor.events
        ADD COLUMN lsn      pg_lsn,
        ADD COLUMN lsn_at   timestamptz,
        ADD COLUMN pitr     text,
        ADD COLUMN sessions text,
        DROP CONSTRAINT events_event_check,
        ADD CONSTRAINT events_event_check CHECK (event IN
            ('started', 'batch', 'intent', 'performed', 'applied', 'opened', 'fenced', 'point', 'failed',
             'failed-over'));
    """,
)


def ledger_version(connection: Connection[Any]) -> int:
    """How new the ledger is: 0 where there is none. Raise Refused where a newer runner wrote it."""
    found = connection.execute(
        "SELECT to_regclass('maestro_conductor.ledger_version') IS NOT NULL"
    ).fetchone()
    if found is None or not found[0]:
        return 0
    row = connection.execute(
        "SELECT coalesce(max(version), 0) FROM maestro_conductor.ledger_version"
    ).fetchone()
    version = int(row[0]) if row else 0
    if version > len(STEPS):
        raise Refused(
            Reason.LEDGER_NEWER,
            f"ledger: its schema is at version {version}, and this runner knows up to {len(STEPS)}",
            "use a migrations image built on the newer runner that wrote it",
        )
    return version


def bring_up_to_date(connection: Connection[Any]) -> None:
    """Create the ledger, or add what this runner's version of it has more. Two runners at once do it once."""
    if ledger_version(connection) == len(STEPS):
        return
    with connection.transaction():
        # Somebody who reads the ledger in a long transaction must not make us, and all behind us, wait for ever.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_SPACE, SCHEMA_LOCK))
        connection.execute("CREATE SCHEMA IF NOT EXISTS maestro_conductor")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS maestro_conductor.ledger_version"
            " (version integer PRIMARY KEY, added_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        for version, step in enumerate(STEPS, start=1):
            if version > ledger_version(connection):
                connection.execute(step.encode())
                connection.execute(
                    "INSERT INTO maestro_conductor.ledger_version (version) VALUES (%s)", (version,)
                )
