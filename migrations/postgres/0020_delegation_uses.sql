-- The time of the last token of each delegation. Servers count it in the background, with the summaries of the audit log.
CREATE TABLE delegation_uses (
    delegation TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    used_at    BIGINT NOT NULL
);

-- 1 if the uses in the segment are counted. A server without this migration counts none.
ALTER TABLE audit_summaries ADD COLUMN counts_uses SMALLINT NOT NULL DEFAULT 0;
CREATE INDEX audit_summaries_uncounted ON audit_summaries (segment) WHERE counts_uses = 0;

-- What is purged is found without a scan.
CREATE INDEX delegation_uses_by_time ON delegation_uses (used_at);
CREATE INDEX revocations_by_expiry ON revocations (expires_at, kind, issuer, value);
