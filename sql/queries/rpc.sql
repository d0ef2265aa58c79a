-- load_procedures(namespace, name) reads
-- Published procedures whose function is there, or one of them, with the function's signature as JSON.
SELECT p.namespace, p.name, p.public, p.required_roles, p.required_scopes, p.timeout_seconds, p.max_rows, p.read_only,
  p.cache_seconds, concat_ws(' ', p.id, p.updated_at, f.oid, f.xmin) AS version, n.nspname::text AS schema, f.proname::text AS function, f.proretset AS returns_set,
  obj_description(f.oid, 'pg_proc') AS comment, format_type(f.prorettype, NULL) AS result_type,
  f.pronargs - f.pronargdefaults AS needed,
  (SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', coalesce(nullif(f.proargnames[a.place], ''), 'arg' || a.place), 'type', format_type(a.kind, NULL),
      'named', coalesce(f.proargnames[a.place], '') <> '', 'mode', coalesce(f.proargmodes[a.place]::text, 'i'),
      'cast', format('%I.%I', b.nspname, coalesce(e.typname, t.typname)) || CASE WHEN e.oid IS NULL THEN '' ELSE '[]' END,
      'base', coalesce(e.typname, t.typname), 'is_array', e.oid IS NOT NULL,
      'category', coalesce(e.typcategory, t.typcategory),
      'values', (SELECT jsonb_agg(v.enumlabel ORDER BY v.enumsortorder) FROM pg_enum v
                 WHERE v.enumtypid = coalesce(e.oid, t.oid))) ORDER BY a.place), '[]')::text
    FROM unnest(coalesce(f.proallargtypes, f.proargtypes::oid[])) WITH ORDINALITY a(kind, place)
    JOIN pg_type t ON t.oid = a.kind LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    JOIN pg_namespace b ON b.oid = coalesce(e.typnamespace, t.typnamespace)) AS arguments
FROM rpc.procedures p JOIN pg_proc f ON f.oid = to_regprocedure(p.function) JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE ($1::text IS NULL OR p.namespace = $1) AND ($2::text IS NULL OR p.name = $2) ORDER BY p.namespace, p.name

-- find_function(function) reads
-- What a name with the types of its arguments means, and why it cannot be published, if so.
SELECT CASE WHEN pg_function_is_visible(f.oid) THEN quote_ident(n.nspname) || '.' ELSE '' END
    || f.oid::regprocedure::text AS function, n.nspname::text AS schema, CASE
    WHEN f.prokind <> 'f' THEN 'it is a procedure, an aggregate or a window function'
    WHEN EXISTS (SELECT FROM unnest(f.proargtypes::oid[]) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
      THEN 'one of its arguments may be of any type'
    WHEN format_type(f.prorettype, NULL) IN ('trigger', 'event_trigger') THEN 'it is for triggers' END AS fault
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE f.oid = to_regprocedure($1::text)

-- publish_procedure(namespace, name, function, public, roles, scopes, timeout, max_rows, read_only, cache, file)
-- Publish a function, or what is to hold of it from now on; whether it was published before.
INSERT INTO rpc.procedures AS p (namespace, name, function, public, required_roles, required_scopes, timeout_seconds,
  max_rows, read_only, cache_seconds, file)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (namespace, name) DO UPDATE SET function = excluded.function, public = excluded.public,
  required_roles = excluded.required_roles, required_scopes = excluded.required_scopes,
  timeout_seconds = excluded.timeout_seconds, max_rows = excluded.max_rows, read_only = excluded.read_only,
  cache_seconds = excluded.cache_seconds, file = excluded.file, updated_at = now()
RETURNING (xmax <> 0) AS known

-- withdraw_procedure(namespace, name)
-- Publish a procedure no longer; the function stays.
DELETE FROM rpc.procedures WHERE namespace = $1 AND name = $2 RETURNING name

-- add_execution(id, namespace, name, holder, status, error, rows, ms)
-- Keep how a call of a procedure ended.
INSERT INTO rpc.executions (id, namespace, name, holder, status, error, rows, duration_ms, started_at)
VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8::float8, clock_timestamp() - make_interval(secs => $8::float8 / 1000))

-- find_execution(id, holder, owner, reader) reads
-- One call of somebody, or of anybody when no holder is named, and what it gave for who may read that.
SELECT e.id::text, e.namespace, e.name, e.status, e.error, e.rows, e.started_at::text,
  coalesce(e.duration_ms, round(extract(epoch FROM clock_timestamp() - e.started_at)::numeric * 1000, 2)) AS duration_ms,
  coalesce(r.truncated, false) AS truncated, e.status = 'running' AND r.lease_until < clock_timestamp() AS lost,
  CASE WHEN e.holder = $3 AND r.reader = $4 AND r.ended_at > now() - interval '1 day' THEN r.data END AS data
FROM rpc.executions e LEFT JOIN rpc.runs r ON r.execution = e.id
WHERE e.id = $1::text::uuid AND ($2::text IS NULL OR e.holder = $2)

-- list_executions(running, most) reads
-- The latest calls, or those that run.
SELECT e.id::text AS execution_id, e.namespace, e.name, e.holder, e.status, e.error, e.rows, e.started_at::text, e.duration_ms
FROM rpc.executions e WHERE NOT $1 OR e.status = 'running' ORDER BY e.started_at DESC LIMIT $2

-- begin_execution(id, namespace, name, holder, reader, effect_key, call_mac, lease, most)
-- Keep that a call runs in the background from now on, unless it was begun before or too many run.
SELECT outcome, execution::text FROM rpc.begin_run($1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9)

-- renew_executions(ids, lease)
-- Promise to be heard of again; returns those that still run, which somebody wants to end, and how their keys stand.
UPDATE rpc.runs r SET lease_until = clock_timestamp() + make_interval(secs => $2::float8) FROM rpc.executions e
WHERE r.execution = ANY ($1::text[]::uuid[]) AND r.ended_at IS NULL AND e.id = r.execution
RETURNING r.execution::text, r.cancel_wanted,
  (SELECT k.revoked_at IS NULL FROM auth.api_keys k WHERE k.id = e.holder) AS key_lives

-- finish_execution(id, status, error, rows, truncated, data)
-- Keep how a call in the background ended, and what it gave.
SELECT rpc.finish_run($1::text::uuid, $2, $3, $4, $5, $6)

-- cancel_execution(id)
-- Ask the server that runs a call to end it.
WITH wanted AS (UPDATE rpc.runs SET cancel_wanted = true WHERE execution = $1::text::uuid AND ended_at IS NULL
  RETURNING execution) SELECT pg_notify('fluxbase_rpc', 'cancel ' || execution) FROM wanted

-- settle_executions()
-- End what servers left behind that are not heard of any more.
SELECT rpc.settle_runs()

-- prune_executions(seconds)
-- Delete calls that are older, some at a time.
DELETE FROM rpc.executions WHERE id IN (
  SELECT id FROM rpc.executions WHERE started_at < now() - make_interval(secs => $1::float8) LIMIT 5000) RETURNING id

-- run_file(text)
-- Run the statements of a file, all or none.
SELECT rpc.run_file($1)

-- new_functions() reads
-- Functions that this transaction made or replaced.
SELECT f.oid::regprocedure::text AS function FROM pg_proc f WHERE f.xmin = pg_current_xact_id()::xid

-- filed_procedures() reads
-- Procedures that were published from files.
SELECT namespace, name, file FROM rpc.procedures WHERE file IS NOT NULL ORDER BY 1, 2
