-- The search by time: by an index, not from the first event on. On a large log, make it before the upgrade, beside running servers, by
-- CREATE INDEX CONCURRENTLY of the same name: it is taken as it is.
CREATE INDEX IF NOT EXISTS audit_events_by_at ON audit_events (at, id);
