-- One batch: the next keys after the cursor, and of their rows those that still lack the pair.
-- The rows are found by the range of their keys, never by joining the page to the table: with nearly all of
-- owner_name still NULL, the planner would read the whole table for each batch. They are locked in the order of
-- their keys, as a transaction over several rows would, so that the two never deadlock.
WITH page AS (
    SELECT id FROM executions
    WHERE id >= coalesce(nullif(current_setting('maestro_conductor.cursor'), ''),
                         '00000000-0000-0000-0000-000000000000')::uuid
      AND id::text <> current_setting('maestro_conductor.cursor')
    ORDER BY id
    LIMIT current_setting('maestro_conductor.batch_rows')::integer
), waiting AS (
    SELECT id, owner FROM executions
    WHERE id BETWEEN (SELECT id FROM page ORDER BY id LIMIT 1) AND (SELECT id FROM page ORDER BY id DESC LIMIT 1)
      AND owner_name IS NULL
    ORDER BY id
    FOR UPDATE
), filled AS (
    UPDATE executions AS e
    SET owner_name = pair.owner_name, owner_email = pair.owner_email
    FROM waiting CROSS JOIN LATERAL executions_owner_split(waiting.owner) AS pair
    WHERE e.id = waiting.id AND e.owner_name IS NULL
    RETURNING e.id
)
SELECT (SELECT count(*) FROM filled) AS rows,
       (SELECT id::text FROM page ORDER BY id DESC LIMIT 1) AS cursor;
