-- Where a chain of the audit log continues after its first rows were removed: the last removed row, under a code of the servers.
CREATE TABLE audit_checkpoints (
    writer          TEXT NOT NULL PRIMARY KEY,
    writer_sequence INTEGER NOT NULL,
    mac             BLOB NOT NULL,
    seal            BLOB NOT NULL
) STRICT, WITHOUT ROWID;
