-- A code over each row that servers hold in memory, and one over the set of rows beside its counter: a row that was written, altered
-- or removed past the servers shows. The codes are made by the servers, under a key that the database does not have.
ALTER TABLE entries ADD COLUMN code BLOB NOT NULL DEFAULT x'';
ALTER TABLE signing_keys ADD COLUMN code BLOB NOT NULL DEFAULT x'';
ALTER TABLE revocations ADD COLUMN code BLOB NOT NULL DEFAULT x'';

-- A counter can go back with a restored file, and be raised again by something else: each raise draws a random generation, and `recent`
-- holds those of the latest raises, the last one first.
ALTER TABLE counters ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN recent BLOB NOT NULL DEFAULT x'';
ALTER TABLE counters ADD COLUMN salt BLOB NOT NULL DEFAULT x'';
ALTER TABLE counters ADD COLUMN code BLOB NOT NULL DEFAULT x'';

-- Of a token its ancestors are looked for, by their names; descendants never are.
DROP INDEX tokens_by_parent;
