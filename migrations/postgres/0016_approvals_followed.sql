-- The approvals that a decision, a revocation or their time may still change, and those that changed after a version.
CREATE INDEX approvals_open ON approvals (expires_at, state) WHERE state IN ('pending', 'granted');
CREATE INDEX approvals_by_version ON approvals (version);
