-- Executions whose owner and whose pair do not say the same; those not yet filled are among them.
SELECT count(*) FROM executions
WHERE owner IS DISTINCT FROM executions_owner_join(owner_name, owner_email)
   OR owner_name IS NULL OR owner_email IS NULL;
