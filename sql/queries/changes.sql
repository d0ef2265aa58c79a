-- own_locks() reads
-- The locks on tables that this transaction holds.
SELECT DISTINCT CASE WHEN c.oid IS NULL THEN 'what is dropped' ELSE format('%I.%I', n.nspname, c.relname) END AS relation,
  l.mode
FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
  AND (c.oid IS NULL OR c.relkind IN ('r', 'p', 'v', 'm', 'i') AND n.nspname !~ '^pg_') ORDER BY 1, 2

-- add_schema_change(principal, action, target, up, down)
-- Keep what was changed.
INSERT INTO platform.schema_changes (principal, action, target, up, down) VALUES ($1, $2, $3, $4, $5)
RETURNING id

-- list_schema_changes(most) reads
-- What was changed, newest first.
SELECT id, at::text, principal, action, target, up, down FROM platform.schema_changes ORDER BY id DESC LIMIT $1
