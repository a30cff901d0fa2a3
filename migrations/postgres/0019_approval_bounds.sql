-- Counts and reads of approvals by state, each bounded by what is in that state. The last column of an index
-- answers the condition of the query from the index alone. After this migration, a server drops the indexes of approvals that these
-- replace, without a lock that writers wait for.
CREATE INDEX approvals_pending ON approvals (expires_at, state) WHERE state = 'pending';
CREATE INDEX approvals_granted ON approvals (expires_at, state) WHERE state = 'granted';
CREATE INDEX approvals_closed ON approvals (expires_at, id, state) WHERE state NOT IN ('pending', 'granted');
CREATE INDEX approvals_by_user ON approvals (principal_sub, principal_iss, requested_at);
