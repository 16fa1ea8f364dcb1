"""SQL that holds a migration runner still at a line of its ledger, ends it there, and reads what came of it.

Run by psql in the database's pod. The trigger is that of `tests/migrator/halts.py`.
"""

from __future__ import annotations

_ASKED_IDS = 20

INSTALL = """
ALTER ROLE mc_blue LOGIN;
ALTER ROLE mc_green LOGIN;
DROP SCHEMA IF EXISTS halt CASCADE;
CREATE SCHEMA halt;
CREATE TABLE halt.at (phase text, event text, nth integer, place text, pid integer);
CREATE FUNCTION halt.here() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE NEW.attempt = 1 AND EXISTS (
        SELECT FROM halt.at AS held
        WHERE held.phase = NEW.phase AND held.event = NEW.event AND held.place = TG_ARGV[0]
          -- Only the one that was found is held: whoever comes after it goes on.
          AND coalesce(held.pid, pg_backend_pid()) = pg_backend_pid()
          AND held.nth = (SELECT count(*) FROM maestro_conductor.events AS e WHERE e.upgrade = NEW.upgrade
                          AND e.phase = NEW.phase AND e.event = NEW.event AND e.seq <> NEW.seq) + 1
    ) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER halt_line BEFORE INSERT ON maestro_conductor.events
    FOR EACH ROW EXECUTE FUNCTION halt.here('line');
CREATE CONSTRAINT TRIGGER halt_commit AFTER INSERT ON maestro_conductor.events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION halt.here('commit');
"""
HOLD = "INSERT INTO halt.at VALUES ('{phase}', '{event}', {nth}, '{place}', NULL);"
RELEASE = "DELETE FROM halt.at;"
#: One command for waiting and killing: what happens in the database's pod takes no part of the five seconds. Who was
#: found is to outlive the server's crash, also where commits do not wait for the log.
WAIT = """
SET synchronous_commit = on;
DO $$
DECLARE
    found integer;
    ends_at timestamptz := clock_timestamp() + interval '{seconds} s';
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT pid INTO found FROM pg_stat_activity
        WHERE application_name LIKE 'migrator%' AND wait_event = 'PgSleep' AND datname = current_database()
        LIMIT 1;
        EXIT WHEN found IS NOT NULL OR clock_timestamp() > ends_at;
        PERFORM pg_sleep(0.02);
    END LOOP;
    UPDATE halt.at SET pid = found;
END $$;
"""
FOUND = "SELECT coalesce(max(pid), 0) FROM halt.at;"
#: A server that loses a backend without a word ends all others and recovers from its log.
IN_THE_DATABASE = {
    "backend": "SELECT FROM halt.at WHERE pid IS NOT NULL AND pg_terminate_backend(pid);",
    "database": """
DO $$
DECLARE
    held integer := (SELECT max(pid) FROM halt.at);
BEGIN
    IF held IS NOT NULL THEN
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || held);
    END IF;
END $$;
""",
}
LEDGER = """
SELECT coalesce(json_agg(told ORDER BY seq), '[]') FROM (
    SELECT seq, phase, event, version, state, object, attempt, fence, cursor FROM maestro_conductor.events
    WHERE upgrade = '{upgrade}'
) AS told
"""
SHAPES = """
SELECT json_build_object(
    'rows', count(*),
    'old', md5(string_agg(id::text || ' ' || owner, ',' ORDER BY id)),
    'new', md5(string_agg(id::text || ' ' || executions_owner_join(owner_name, owner_email), ',' ORDER BY id)),
    'unlike', count(*) FILTER (WHERE owner IS DISTINCT FROM executions_owner_join(owner_name, owner_email)
                               OR owner_name IS NULL OR owner_email IS NULL))
FROM executions
"""
COLUMNS = """
SELECT json_agg(column_name ORDER BY column_name) FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = 'executions'
"""
PERMITS = "SELECT count(*) FROM maestro_conductor.permits WHERE upgrade = '{upgrade}'"
IDS = f"""
SELECT json_agg(id) FROM (
    (SELECT id FROM executions WHERE tenant NOT LIKE 'history-%' ORDER BY created_at DESC LIMIT {_ASKED_IDS})
    UNION ALL (SELECT id FROM executions WHERE tenant NOT LIKE 'history-%' ORDER BY created_at LIMIT {_ASKED_IDS})
    UNION ALL (SELECT id FROM executions WHERE tenant LIKE 'history-%' ORDER BY id LIMIT 5)
) AS asked
"""
