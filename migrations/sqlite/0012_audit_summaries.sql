-- Filters over the values of the events of 256 ids each, which searches pass over by. Servers add them in the background.
CREATE TABLE audit_summaries (
    segment     INTEGER NOT NULL PRIMARY KEY,
    names       BLOB NOT NULL,
    identifiers BLOB NOT NULL
) STRICT;

-- The ids of removed rows can be given out again.
CREATE TRIGGER audit_summaries_of_removed AFTER DELETE ON audit_events BEGIN
    DELETE FROM audit_summaries WHERE segment = OLD.id / 256;
END;

DROP INDEX IF EXISTS audit_events_by_at;
DROP INDEX IF EXISTS audit_events_by_correlation_id;
DROP INDEX IF EXISTS audit_events_by_txn;
DROP INDEX IF EXISTS audit_events_by_jti;
