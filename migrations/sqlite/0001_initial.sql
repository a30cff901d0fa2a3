-- Times are milliseconds since the epoch. Text is compared byte for byte.

-- One row for each set of rows that servers hold in memory; raised by every change of the set.
CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('registry', 0), ('keys', 0), ('revocations', 0);

CREATE TABLE entries (
    kind              TEXT NOT NULL,
    id                TEXT NOT NULL,
    origin            TEXT NOT NULL,
    disabled_by_admin INTEGER NOT NULL,
    body              TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

CREATE TABLE signing_keys (
    kid         TEXT NOT NULL PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    state       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    state_since INTEGER NOT NULL,
    sealed      BLOB NOT NULL
) STRICT;

-- An empty issuer stands for none: a null would never equal another in a unique index.
CREATE TABLE revocations (
    kind       TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    value      TEXT NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (kind, issuer, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_version ON revocations (version);

CREATE TABLE one_time_values (
    namespace  TEXT NOT NULL,
    value      TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX one_time_values_by_expiry ON one_time_values (expires_at);

CREATE TABLE tokens (
    jti        TEXT NOT NULL PRIMARY KEY,
    iss        TEXT NOT NULL,
    parent_iss TEXT,
    parent_jti TEXT,
    txn        TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK ((parent_iss IS NULL) = (parent_jti IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_parent ON tokens (parent_jti, parent_iss) WHERE parent_jti IS NOT NULL;
CREATE INDEX tokens_by_txn ON tokens (txn);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

CREATE TABLE audit_events (
    id              INTEGER NOT NULL PRIMARY KEY,
    writer          TEXT NOT NULL,
    writer_sequence INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    correlation_id  TEXT,
    txn             TEXT,
    jti             TEXT,
    body            TEXT NOT NULL,
    mac             BLOB NOT NULL,
    CHECK (writer <> '' AND writer_sequence > 0),
    UNIQUE (writer, writer_sequence)
) STRICT;

CREATE INDEX audit_events_by_correlation_id ON audit_events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX audit_events_by_txn ON audit_events (txn) WHERE txn IS NOT NULL;
CREATE INDEX audit_events_by_jti ON audit_events (jti) WHERE jti IS NOT NULL;
