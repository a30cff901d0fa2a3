-- The longest life of any token that a key signed, in milliseconds. Of keys that are older than this column it is not known: it was
-- never more than eight hours.
ALTER TABLE signing_keys ADD COLUMN longest_life BIGINT NOT NULL DEFAULT 28800000;

-- The keys of audit chains that were written under former master keys, sealed under the present one.
CREATE TABLE audit_keys (
    name       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    retired_at BIGINT NOT NULL,
    sealed     BYTEA NOT NULL
);
