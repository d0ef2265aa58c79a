-- add_audit(at, request_id, kind, principal, action, target, outcome, code, arguments, arguments_mac, rows, duration_ms, remote)
-- Record calls that changed nothing: denials, failures and reads. Each parameter is the array of a column.
INSERT INTO platform.audit (at, request_id, kind, principal, action, target, outcome, code, arguments,
  arguments_mac, rows, duration_ms, remote)
SELECT coalesce(at, clock_timestamp()), request_id, kind, principal, action, target, outcome, code,
  arguments::jsonb, arguments_mac, rows, duration_ms, remote::inet
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
  $8::text[], $9::text[], $10::text[], $11::integer[], $12::real[], $13::text[])
  AS e(at, request_id, kind, principal, action, target, outcome, code, arguments, arguments_mac, rows,
    duration_ms, remote)

-- prune_audit(seconds)
-- Delete a batch of records older than the retention.
DELETE FROM platform.audit WHERE id IN (
  SELECT id FROM platform.audit WHERE at < now() - make_interval(secs => $1) ORDER BY at LIMIT 5000)
