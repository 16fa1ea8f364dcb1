-- Back to owner alone. It was kept true by the triggers all the time, so nothing has to be copied.

DROP TRIGGER IF EXISTS executions_owner_sync ON executions;
ALTER TABLE executions
    DROP CONSTRAINT IF EXISTS executions_owner_pair_present,
    DROP COLUMN IF EXISTS owner_name,
    DROP COLUMN IF EXISTS owner_email;

DROP FUNCTION IF EXISTS executions_owner_sync();
DROP FUNCTION IF EXISTS executions_owner_split(text);
DROP FUNCTION IF EXISTS executions_owner_join(text, text);
