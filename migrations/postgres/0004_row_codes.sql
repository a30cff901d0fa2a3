-- A code over each row that servers hold in memory, and one over the set of rows beside its counter: a row that was written, altered
-- or removed past the servers shows. The codes are made by the servers, under a key that the database does not have.
ALTER TABLE entries ADD COLUMN code BYTEA NOT NULL DEFAULT ''::BYTEA;
ALTER TABLE signing_keys ADD COLUMN code BYTEA NOT NULL DEFAULT ''::BYTEA;
ALTER TABLE revocations ADD COLUMN code BYTEA NOT NULL DEFAULT ''::BYTEA;

-- A counter can go back with a lost write-ahead log, and be raised again by something else: each raise draws a random generation, and
-- `recent` holds those of the latest raises, the last one first.
ALTER TABLE counters
    ADD COLUMN generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN recent     BYTEA  NOT NULL DEFAULT ''::BYTEA,
    ADD COLUMN salt       BYTEA  NOT NULL DEFAULT ''::BYTEA,
    ADD COLUMN code       BYTEA  NOT NULL DEFAULT ''::BYTEA;

-- Takes the lock of transactions that add tokens or audit rows (shared, until the transaction ends), and gives the versions of registry,
-- keys and revocations as they are once the lock is held: counter and generation of each.
CREATE FUNCTION versions_beside_writers() RETURNS BIGINT[] LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(7310002);
    SELECT ARRAY[registry.value, registry.generation, keys.value, keys.generation, revocations.value, revocations.generation]
    FROM counters AS registry, counters AS keys, counters AS revocations
    WHERE registry.name = 'registry' AND keys.name = 'keys' AND revocations.name = 'revocations';
$$;

-- Of a token its ancestors are looked for, by their names; descendants never are.
DROP INDEX tokens_by_parent;
