-- The latest migration that a server must know to work with this schema. A migration that older servers cannot work with raises it.
CREATE TABLE schema_readers (
    oldest_reader BIGINT NOT NULL
);

INSERT INTO schema_readers (oldest_reader) VALUES (11);
