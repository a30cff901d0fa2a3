-- The search by time: by an index, not from the first event on.
CREATE INDEX IF NOT EXISTS audit_events_by_at ON audit_events (at);
