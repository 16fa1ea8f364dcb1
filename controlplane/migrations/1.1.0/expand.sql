-- executions.owner, "Ada Lovelace <ada@example.org>", becomes owner_name and owner_email.
--
-- From here until contract both shapes are kept, by triggers: 1.0 writes owner, 1.1 writes the pair, and each
-- reads what the other wrote. An owner that is not of that form goes into owner_name as it is, with an empty
-- owner_email; so every owner can be put together again, to the letter.

CREATE OR REPLACE FUNCTION executions_owner_join(owner_name text, owner_email text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN coalesce(owner_email, '') = '' THEN owner_name
                ELSE coalesce(owner_name, '') || ' <' || owner_email || '>' END
$$;

-- In plpgsql, which keeps its plan: as an SQL function it would be planned anew for each row.
CREATE OR REPLACE FUNCTION executions_owner_split(owner text, OUT owner_name text, OUT owner_email text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    parts text[] := regexp_match(owner, '^(.+) <([^<>]+)>$');
BEGIN
    owner_name := coalesce(parts[1], owner);
    owner_email := coalesce(parts[2], '');
END $$;

-- The side that a statement changed decides. Where it changed both and they disagree, the pair does: only the
-- newer version knows of both. A row that was not filled yet counts as if it were, so that a change to half of the
-- pair keeps the other half.
CREATE OR REPLACE FUNCTION executions_owner_sync() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner_changed boolean := NEW.owner IS NOT NULL;
    pair_changed  boolean := NEW.owner_name IS NOT NULL OR NEW.owner_email IS NOT NULL;
    pair          record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        pair := ROW(OLD.owner_name, OLD.owner_email);
        IF OLD.owner_name IS NULL THEN
            pair := executions_owner_split(OLD.owner);
            NEW.owner_name := coalesce(NEW.owner_name, pair.owner_name);
            NEW.owner_email := coalesce(NEW.owner_email, pair.owner_email);
        END IF;
        owner_changed := NEW.owner IS DISTINCT FROM OLD.owner;
        pair_changed := (NEW.owner_name, NEW.owner_email) IS DISTINCT FROM pair;
    END IF;
    IF pair_changed THEN
        NEW.owner_email := coalesce(NEW.owner_email, '');
        NEW.owner := executions_owner_join(NEW.owner_name, NEW.owner_email);
    ELSIF owner_changed THEN
        pair := executions_owner_split(NEW.owner);
        NEW.owner_name := pair.owner_name;
        NEW.owner_email := pair.owner_email;
    END IF;
    RETURN NEW;
END $$;

-- One lock for everything below it, held for catalogue changes only. The constraint is checked for what is
-- written from now on, which the trigger has filled by then; contract validates it for the rest.
ALTER TABLE executions
    ADD COLUMN IF NOT EXISTS owner_name text,
    ADD COLUMN IF NOT EXISTS owner_email text,
    DROP CONSTRAINT IF EXISTS executions_owner_pair_present,
    ADD CONSTRAINT executions_owner_pair_present
        CHECK (owner_name IS NOT NULL AND owner_email IS NOT NULL) NOT VALID;

DROP TRIGGER IF EXISTS executions_owner_sync ON executions;
CREATE TRIGGER executions_owner_sync BEFORE INSERT OR UPDATE ON executions
    FOR EACH ROW EXECUTE FUNCTION executions_owner_sync();
