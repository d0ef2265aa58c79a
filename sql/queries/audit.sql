-- add_audit(entries)
-- Record calls that changed nothing: denials, failures and reads. Entries are a JSON array, which costs
-- the server less to write than arrays of columns would; their times are seconds of the epoch.
INSERT INTO platform.audit (at, request_id, kind, principal, action, target, outcome, code, arguments,
  arguments_mac, rows, duration_ms, remote)
SELECT coalesce(to_timestamp(e.at), clock_timestamp()), e.request_id, e.kind, e.principal, e.action,
  e.target, e.outcome, e.code, e.arguments::jsonb, e.arguments_mac, e.rows, e.duration_ms, e.remote::inet
FROM json_to_recordset($1::text::json) AS e(at double precision, request_id text, kind text,
  principal text, action text, target text, outcome text, code text, arguments text, arguments_mac text,
  rows integer, duration_ms real, remote text)

-- prune_audit(seconds)
-- Delete a batch of records older than the retention, and return them; a full batch means there are more.
DELETE FROM platform.audit WHERE id IN (
  SELECT id FROM platform.audit WHERE at < now() - make_interval(secs => $1) LIMIT 5000)
RETURNING id

-- prune_undo(seconds)
-- Delete a batch of what was kept to take writes back, and return it; a full batch means there is more.
DELETE FROM platform.undo WHERE audit_id IN (
  SELECT audit_id FROM platform.undo WHERE at < now() - make_interval(secs => $1) LIMIT 1000)
RETURNING audit_id

-- prune_idempotency()
-- Delete a batch of answers that are past their day, and return their keys; a full batch means there are more.
DELETE FROM platform.idempotency i USING (
  SELECT principal, key FROM platform.idempotency WHERE at < now() - interval '1 day' LIMIT 1000) o
WHERE i.principal = o.principal AND i.key = o.key
RETURNING i.key
