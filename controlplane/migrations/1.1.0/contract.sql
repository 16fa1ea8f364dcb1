-- The pair becomes required, and owner goes away.

-- Reads the whole table under a lock that stops neither readers nor writers, so it may take its time; with it
-- proven, SET NOT NULL needs no look at the rows.
SET LOCAL statement_timeout = '30min';
ALTER TABLE executions VALIDATE CONSTRAINT executions_owner_pair_present;
SET LOCAL statement_timeout = '5s';

DROP TRIGGER IF EXISTS executions_owner_sync ON executions;
ALTER TABLE executions
    ALTER COLUMN owner_name SET NOT NULL,
    ALTER COLUMN owner_email SET NOT NULL,
    ALTER COLUMN owner_email SET DEFAULT '',
    DROP COLUMN IF EXISTS owner;
ALTER TABLE executions DROP CONSTRAINT IF EXISTS executions_owner_pair_present;

DROP FUNCTION IF EXISTS executions_owner_sync();
DROP FUNCTION IF EXISTS executions_owner_split(text);
DROP FUNCTION IF EXISTS executions_owner_join(text, text);

COMMENT ON COLUMN executions.owner_name IS 'who published it, as in "Ada Lovelace"';
COMMENT ON COLUMN executions.owner_email IS 'where to reach them; empty where nobody said';
