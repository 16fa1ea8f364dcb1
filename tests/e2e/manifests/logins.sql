-- A login role for each colour of mc, beside the one that owns its tables. To be run as the owner, in mc's database and
-- before its first version: what the migrations make later is granted by default. May be run again.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['mc_blue', 'mc_green'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', role, 'only-for-tests');
        END IF;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO mc_blue, mc_green;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO mc_blue, mc_green;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO mc_blue, mc_green;
