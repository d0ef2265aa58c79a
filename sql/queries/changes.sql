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

-- forget_search_path() reads
-- Have Postgres write every name in full until this transaction ends.
SELECT set_config('search_path', '', true)

-- table_before(schema, table) reads
-- Whether a table has row-level security, and its comment.
SELECT c.relrowsecurity AS protected, obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p', 'f')

-- column_before(schema, table, column) reads
-- A column as Postgres would write it.
SELECT format_type(a.atttypid, a.atttypmod)
    || CASE WHEN co.oid IS NULL THEN '' ELSE format(' COLLATE %I.%I', cn.nspname, co.collname) END AS type,
  CASE WHEN a.attgenerated = '' THEN '(' || pg_get_expr(d.adbin, d.adrelid) || ')' END AS default,
  NOT a.attnotnull AS nullable, a.attgenerated <> '' AS generated
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.oid <> t.typcollation
LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = $1::text AND c.relname = $2::text AND a.attname = $3::text AND a.attnum > 0 AND NOT a.attisdropped

-- policy_before(schema, table, name) reads
-- A policy as Postgres would write it.
SELECT CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
    ELSE 'ALL' END AS command, p.polpermissive AS permissive,
  (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
    FROM unnest(p.polroles) r) AS roles,
  '(' || pg_get_expr(p.polqual, p.polrelid) || ')' AS using,
  '(' || pg_get_expr(p.polwithcheck, p.polrelid) || ')' AS check
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text AND p.polname = $3::text

-- kinds_of_name(schema, name) reads
-- Whether a name is that of an index, of a table, and of an enum.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('i', 'I')) AS index,
  EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p', 'f')) AS table,
  EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = $1::text AND t.typname = $2::text AND t.typtype = 'e') AS enum
