-- Takes the lock of whoever adds tokens or audit rows (shared, until the transaction ends), and gives the counter of revocations as it
-- stands once the lock is held: a volatile function sees at each of its statements what was committed before that statement, where the
-- statement that calls it sees what was committed before itself.
CREATE FUNCTION revocations_beside_writers() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(7310002);
    SELECT value FROM counters WHERE name = 'revocations';
$$;
