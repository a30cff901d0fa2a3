-- Approvals: what an agent asked for, and what a person decided. A row has a code, and its counter the code of the set of rows.
-- An empty tenant stands for none. The agents are separated by spaces.
CREATE TABLE approvals (
    id            TEXT NOT NULL PRIMARY KEY,
    digest        TEXT NOT NULL,
    state         TEXT NOT NULL,
    principal_iss TEXT NOT NULL,
    principal_sub TEXT NOT NULL,
    sub           TEXT NOT NULL,
    tenant_id     TEXT NOT NULL,
    agents        TEXT NOT NULL,
    requested_at  INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    body          TEXT NOT NULL,
    code          BLOB NOT NULL
) STRICT;

CREATE INDEX approvals_by_digest ON approvals (digest);
CREATE INDEX approvals_by_principal ON approvals (principal_sub, requested_at);
CREATE INDEX approvals_by_expiry ON approvals (expires_at);

-- The server that applies this migration seals the counter, over no rows.
INSERT INTO counters (name, value) VALUES ('approvals', 0);

-- A server without approvals would revoke and leave the approvals of what it revokes.
UPDATE schema_readers SET oldest_reader = 15;
