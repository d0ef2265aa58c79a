-- load_functions(namespace, name) reads
-- Functions that are deployed, or one of them.
SELECT f.id::text, f.namespace, f.name, f.description, f.public, f.required_roles, f.required_scopes, f.timeout_seconds,
  f.runs_as, f.isolation, f.version, f.file, f.updated_at::text
FROM functions.functions f WHERE ($1::text IS NULL OR f.namespace = $1) AND ($2::text IS NULL OR f.name = $2)
ORDER BY f.namespace, f.name

-- load_code(function, version) reads
-- The module of one version.
SELECT v.code FROM functions.versions v WHERE v.function = $1::text::uuid AND v.version = $2

-- list_function_versions(namespace, name) reads
-- The versions of a function, the newest first.
SELECT v.version, v.version = f.version AS active, v.deployed_by, v.created_at::text, octet_length(v.code) AS size
FROM functions.functions f JOIN functions.versions v ON v.function = f.id WHERE f.namespace = $1 AND f.name = $2
ORDER BY v.version DESC

-- deploy_function(namespace, name, description, public, roles, scopes, timeout, runs_as, isolation, file, code, sources, by)
-- Keep a new version of a function and put it into force; the same code as the one in force is no new version.
WITH known AS (
  INSERT INTO functions.functions AS f (namespace, name, description, public, required_roles, required_scopes,
    timeout_seconds, runs_as, isolation, file)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
  ON CONFLICT (namespace, name) DO UPDATE SET description = excluded.description, public = excluded.public,
    required_roles = excluded.required_roles, required_scopes = excluded.required_scopes,
    timeout_seconds = excluded.timeout_seconds, runs_as = excluded.runs_as, isolation = excluded.isolation,
    file = excluded.file, updated_at = now()
  RETURNING f.id, f.version, xmax <> 0 AS known)
SELECT k.known, d.version, d.version = k.version AS same
FROM known k, functions.put_version(k.id, $11, $12::text::jsonb, $13) d(version)

-- rollback_function(namespace, name, version)
-- Put another version into force, or the one before the one that is.
UPDATE functions.functions f SET version = v.version, updated_at = now()
FROM functions.functions o CROSS JOIN LATERAL (SELECT w.version FROM functions.versions w WHERE w.function = o.id
  AND CASE WHEN $3::int IS NULL THEN w.version < o.version ELSE w.version = $3 END ORDER BY w.version DESC LIMIT 1) v
WHERE o.namespace = $1 AND o.name = $2 AND f.id = o.id RETURNING f.version, o.version AS before

-- delete_function(namespace, name)
-- Take a function away with its versions; what is known of its calls stays.
DELETE FROM functions.functions WHERE namespace = $1 AND name = $2 RETURNING name

-- filed_functions() reads
-- Functions that were deployed from files.
SELECT namespace, name, file FROM functions.functions WHERE file IS NOT NULL ORDER BY 1, 2

-- add_function_execution(id, namespace, name, version, holder, status, http_status, error, ms, lost, lines)
-- Keep how a call of a function ended, and what it wrote meanwhile.
WITH kept AS (
  INSERT INTO functions.executions (id, namespace, name, version, holder, status, http_status, error, duration_ms,
    lines_lost, started_at)
  VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9::float8, $10, clock_timestamp() - make_interval(secs => $9::float8 / 1000))
  RETURNING id)
INSERT INTO functions.logs (execution, number, level, message, at)
SELECT k.id, l.n, l.line->>0, l.line->>1, to_timestamp((l.line->>2)::float8)
FROM kept k, jsonb_array_elements($11::text::jsonb) WITH ORDINALITY l(line, n)

-- find_executions(namespace, name, id, holder, most) reads
-- The newest calls of a function, or one call; of somebody, or of anybody when no holder is named.
SELECT e.id::text, e.namespace, e.name, e.version, e.status, e.http_status, e.error, e.started_at::text, e.duration_ms, e.lines_lost,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('level', l.level, 'message', l.message, 'at', l.at) ORDER BY l.number), '[]')::text
   FROM functions.logs l WHERE l.execution = e.id) AS lines
FROM functions.executions e
WHERE ($1::text IS NULL OR e.namespace = $1 AND e.name = $2) AND ($3::text IS NULL OR e.id = $3::text::uuid)
  AND ($4::text IS NULL OR e.holder = $4) ORDER BY e.started_at DESC, e.id LIMIT $5

-- prune_function_executions(seconds)
-- Delete calls that are older, some at a time.
DELETE FROM functions.executions WHERE id IN (
  SELECT id FROM functions.executions WHERE started_at < now() - make_interval(secs => $1::float8) LIMIT 5000) RETURNING id
