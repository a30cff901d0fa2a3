-- Where a chain of the audit log continues after its first rows were removed: the last removed row, under a code of the servers.
CREATE TABLE audit_checkpoints (
    writer          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    writer_sequence BIGINT NOT NULL,
    mac             BYTEA NOT NULL,
    seal            BYTEA NOT NULL
);
