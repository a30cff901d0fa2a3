-- Approvals: what an agent asked for, and what a person decided. A row has a code, and its counter the code of the set of rows.
-- An empty tenant stands for none. The agents are separated by spaces.
CREATE TABLE approvals (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    digest        TEXT COLLATE "C" NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    principal_iss TEXT COLLATE "C" NOT NULL,
    principal_sub TEXT COLLATE "C" NOT NULL,
    sub           TEXT COLLATE "C" NOT NULL,
    tenant_id     TEXT COLLATE "C" NOT NULL,
    agents        TEXT COLLATE "C" NOT NULL,
    requested_at  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    body          TEXT NOT NULL,
    code          BYTEA NOT NULL
);

CREATE INDEX approvals_by_digest ON approvals (digest);
CREATE INDEX approvals_by_principal ON approvals (principal_sub, requested_at);
CREATE INDEX approvals_by_expiry ON approvals (expires_at);

-- The server that applies this migration seals the counter, over no rows.
INSERT INTO counters (name, value) VALUES ('approvals', 0);

-- A server without approvals would revoke and leave the approvals of what it revokes.
UPDATE schema_readers SET oldest_reader = 15;
