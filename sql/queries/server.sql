-- ready()
-- Whether the primary answers, and since when it runs.
SELECT NOT pg_is_in_recovery() AS primary, pg_postmaster_start_time() AS started

-- write_position()
-- Where the write-ahead log stands; a replica that replayed this far shows all that was written.
SELECT pg_current_wal_insert_lsn()::text AS position

-- replay_position()
-- How far a replica has replayed the write-ahead log.
SELECT coalesce(pg_last_wal_replay_lsn(), pg_current_wal_insert_lsn())::text AS position
