-- Times are milliseconds since the epoch. Text is compared byte for byte, whatever the collation of the database.

-- One row for each set of rows that servers hold in memory; raised by every change of the set.
CREATE TABLE counters (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('registry', 0), ('keys', 0), ('revocations', 0);

CREATE TABLE entries (
    kind              TEXT COLLATE "C" NOT NULL,
    id                TEXT COLLATE "C" NOT NULL,
    origin            TEXT NOT NULL,
    disabled_by_admin BOOLEAN NOT NULL,
    body              TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE signing_keys (
    kid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    state       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    state_since BIGINT NOT NULL,
    sealed      BYTEA NOT NULL
);

-- An empty issuer stands for none: a null would never equal another in a unique index.
CREATE TABLE revocations (
    kind       TEXT COLLATE "C" NOT NULL,
    issuer     TEXT COLLATE "C" NOT NULL,
    value      TEXT COLLATE "C" NOT NULL,
    at         BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    PRIMARY KEY (kind, issuer, value)
);

CREATE INDEX revocations_by_version ON revocations (version);

CREATE TABLE one_time_values (
    namespace  TEXT COLLATE "C" NOT NULL,
    value      TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, value)
);

CREATE INDEX one_time_values_by_expiry ON one_time_values (expires_at);

CREATE TABLE tokens (
    jti        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    iss        TEXT COLLATE "C" NOT NULL,
    parent_iss TEXT COLLATE "C",
    parent_jti TEXT COLLATE "C",
    txn        TEXT COLLATE "C" NOT NULL,
    client_id  TEXT NOT NULL,
    issued_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK ((parent_iss IS NULL) = (parent_jti IS NULL))
);

CREATE INDEX tokens_by_parent ON tokens (parent_jti, parent_iss) WHERE parent_jti IS NOT NULL;
CREATE INDEX tokens_by_txn ON tokens (txn);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

CREATE TABLE audit_events (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    writer          TEXT COLLATE "C" NOT NULL,
    writer_sequence BIGINT NOT NULL,
    at              BIGINT NOT NULL,
    correlation_id  TEXT COLLATE "C",
    txn             TEXT COLLATE "C",
    jti             TEXT COLLATE "C",
    body            TEXT NOT NULL,
    mac             BYTEA NOT NULL,
    CHECK (writer <> '' AND writer_sequence > 0),
    UNIQUE (writer, writer_sequence)
);

CREATE INDEX audit_events_by_correlation_id ON audit_events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX audit_events_by_txn ON audit_events (txn) WHERE txn IS NOT NULL;
CREATE INDEX audit_events_by_jti ON audit_events (jti) WHERE jti IS NOT NULL;
