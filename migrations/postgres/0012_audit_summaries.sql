-- Filters over the values of the events of 256 ids each, which searches pass over by. Servers add them in the background. After this
-- migration, a server drops the indexes of audit_events by at, correlation_id, txn and jti, without a lock that writers wait for.
CREATE TABLE audit_summaries (
    segment     BIGINT NOT NULL PRIMARY KEY,
    names       BYTEA NOT NULL,
    identifiers BYTEA NOT NULL
);
