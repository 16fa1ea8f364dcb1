-- One batch: the next keys after the cursor, and of their rows those that still lack the pair.
-- Locked in the order of their keys, as a transaction over several rows would, so that the two never deadlock.
WITH page AS (
    SELECT id FROM executions
    WHERE id >= coalesce(nullif(current_setting('maestro_conductor.cursor'), ''),
                         '00000000-0000-0000-0000-000000000000')::uuid
      AND id::text <> current_setting('maestro_conductor.cursor')
    ORDER BY id
    LIMIT current_setting('maestro_conductor.batch_rows')::integer
), waiting AS (
    SELECT e.id FROM executions AS e JOIN page USING (id)
    WHERE e.owner_name IS NULL
    ORDER BY e.id
    FOR UPDATE OF e
), filled AS (
    UPDATE executions AS e
    SET owner_name = (executions_owner_split(e.owner)).owner_name,
        owner_email = (executions_owner_split(e.owner)).owner_email
    FROM waiting
    WHERE e.id = waiting.id AND e.owner_name IS NULL
    RETURNING e.id
)
SELECT (SELECT count(*) FROM filled) AS rows,
       (SELECT id::text FROM page ORDER BY id DESC LIMIT 1) AS cursor;
