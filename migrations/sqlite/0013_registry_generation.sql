-- The generation of the last applied registry file; 0 for a file without. A single row.
CREATE TABLE registry_file (
    generation INTEGER NOT NULL
) STRICT;

INSERT INTO registry_file (generation) VALUES (0);
