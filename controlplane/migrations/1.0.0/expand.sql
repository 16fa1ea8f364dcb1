-- The schema that mc 1.0.0 works on: what is published, and how much each tenant has published.

CREATE TABLE executions (
    id          uuid        PRIMARY KEY,
    tenant      text        NOT NULL,
    owner       text        NOT NULL,
    name        text        NOT NULL,
    denied      boolean     NOT NULL DEFAULT false,
    state       text        NOT NULL DEFAULT 'queued'
                            CONSTRAINT executions_state_known CHECK (state IN ('queued', 'running', 'finished')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz
);

COMMENT ON COLUMN executions.owner IS 'who published it, as in "Ada Lovelace <ada@example.org>"';

CREATE INDEX executions_tenant_created ON executions (tenant, created_at DESC);
CREATE INDEX executions_created ON executions (created_at DESC);

-- The worker's two questions. Partial, so that they stay as small as the queue itself.
CREATE INDEX executions_queued ON executions (created_at) WHERE state = 'queued' AND NOT denied;
CREATE INDEX executions_running ON executions (started_at) WHERE state = 'running';

-- One row a tenant, counted up by every publication in the same transaction as the execution itself.
-- The row is hot: half of each page is left free so that an update needs no new index entry.
CREATE TABLE tenants (
    tenant     text   PRIMARY KEY,
    executions bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
