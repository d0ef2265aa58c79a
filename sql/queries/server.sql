-- ready() reads
-- Whether the primary answers, and since when it runs.
SELECT NOT pg_is_in_recovery() AS primary, pg_postmaster_start_time() AS started

-- write_position() reads
-- Where the write-ahead log stands; a replica that replayed this far shows all that was written.
SELECT pg_current_wal_insert_lsn()::text AS position

-- replay_position() reads
-- How far a replica has replayed the write-ahead log; no row from what is a replica no more.
SELECT pg_last_wal_replay_lsn()::text AS position
WHERE pg_is_in_recovery() AND pg_last_wal_replay_lsn() IS NOT NULL
