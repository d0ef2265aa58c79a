-- open_session(id, principal, version, client, timeout, unused, per_principal, in_all)
-- Open a session, or say which cap is met. The times are seconds.
SELECT platform.open_mcp_session($1, $2, $3, $4, $5, $6, $7, $8) AS full

-- find_session(id, principal, timeout, unused, used)
-- A session of this caller's that has not run out; it is in use from now on. `used` is when it was used
-- before without being written down, in seconds of the Unix epoch, or null.
UPDATE platform.mcp_sessions SET seen_at = clock_timestamp()
WHERE id = $1 AND principal = $2
  AND greatest(coalesce(seen_at, created_at), to_timestamp($5)) >= now() - make_interval(secs => $3)
  AND (seen_at IS NOT NULL OR to_timestamp($5) IS NOT NULL
    OR created_at >= now() - make_interval(secs => least($3, $4)))
RETURNING version, client::text, log_level, subscriptions

-- touch_sessions(uses)
-- Note when sessions were used last; `uses` is a JSON array of `id` and `at`.
UPDATE platform.mcp_sessions s SET seen_at = greatest(s.seen_at, u.at)
FROM jsonb_to_recordset($1::text::jsonb) AS u(id text, at timestamptz) WHERE s.id = u.id

-- end_session(id, principal)
-- End a session of this caller's.
DELETE FROM platform.mcp_sessions WHERE id = $1 AND principal = $2 RETURNING id

-- end_idle_sessions(timeout, unused)
-- End the sessions that were not used for so many seconds, or never.
DELETE FROM platform.mcp_sessions
WHERE coalesce(seen_at, created_at) < now() - make_interval(secs => $1)
  OR seen_at IS NULL AND created_at < now() - make_interval(secs => least($1, $2))

-- end_sessions_of_keys()
-- End the sessions of keys that are no more.
DELETE FROM platform.mcp_sessions s
WHERE EXISTS (SELECT FROM auth.api_keys k WHERE k.id = s.principal
  AND (k.revoked_at IS NOT NULL OR k.expires_at <= now()))

-- set_session_log_level(id, level)
-- Keep the least level of which a session wants to hear.
UPDATE platform.mcp_sessions SET log_level = $2 WHERE id = $1

-- subscribe_session(id, uri, most)
-- Add a resource to those of which a session wants to hear; no row when it has too many.
UPDATE platform.mcp_sessions SET subscriptions = CASE WHEN $2 = ANY (subscriptions)
  THEN subscriptions ELSE subscriptions || $2 END
WHERE id = $1 AND (cardinality(subscriptions) < $3 OR $2 = ANY (subscriptions)) RETURNING id

-- unsubscribe_session(id, uri)
-- Take a resource from those of which a session wants to hear.
UPDATE platform.mcp_sessions SET subscriptions = array_remove(subscriptions, $2) WHERE id = $1

-- keep_event(session, stream, number, message, last, announce)
-- Keep a message of a stream for a client that comes back, and tell whoever reads the stream along.
WITH kept AS (
  INSERT INTO platform.mcp_events (session, stream, number, message, last)
  SELECT s.id, $2, $3, $4, $5 FROM platform.mcp_sessions s WHERE s.id = $1
  ON CONFLICT DO NOTHING RETURNING stream
)
SELECT pg_notify('fluxbase_sessions', $6) FROM kept

-- read_events(session, stream, after) reads
-- The messages of a stream after one of them.
SELECT number, message, last FROM platform.mcp_events
WHERE session = $1 AND stream = $2 AND number > $3 ORDER BY number

-- has_stream(session, stream) reads
-- Whether anything of a stream is kept.
SELECT EXISTS (SELECT FROM platform.mcp_events WHERE session = $1 AND stream = $2) AS known

-- prune_events(age)
-- Delete the messages that are older than so many seconds.
DELETE FROM platform.mcp_events WHERE at < now() - make_interval(secs => $1)

-- announce_session(message)
-- Tell every instance something of a session.
SELECT pg_notify('fluxbase_sessions', $1)
