-- list_schemas(system) reads
-- Every schema, with or without those of Postgres itself and of this program.
SELECT n.nspname AS name, n.nspname ~ '^pg_' OR n.nspname = ANY (ARRAY['information_schema', 'platform', 'auth',
    'storage', 'extensions']) AS is_system
FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp)'
  AND ($1::boolean OR NOT (n.nspname ~ '^pg_' OR n.nspname = ANY (ARRAY['information_schema', 'platform', 'auth',
    'storage', 'extensions'])))
ORDER BY n.nspname

-- list_extensions() reads
-- The extensions that are installed or could be.
SELECT a.name, e.extversion AS version, a.default_version, n.nspname AS schema, a.comment
FROM pg_available_extensions a LEFT JOIN pg_extension e ON e.extname = a.name
LEFT JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname IS NULL, a.name

-- table_stats(schema, name) reads
-- How large a table is, how it is read, and how much of it is dead.
SELECT c.reltuples::bigint AS row_estimate, pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes,
  pg_total_relation_size(c.oid) AS total_bytes, coalesce(s.seq_scan, 0) AS seq_scans,
  coalesce(s.seq_tup_read, 0) AS seq_rows_read, coalesce(s.idx_scan, 0) AS index_scans,
  coalesce(s.n_live_tup, 0) AS live_rows, coalesce(s.n_dead_tup, 0) AS dead_rows,
  coalesce(s.n_tup_ins, 0) AS inserted, coalesce(s.n_tup_upd, 0) AS updated, coalesce(s.n_tup_del, 0) AS deleted,
  greatest(s.last_vacuum, s.last_autovacuum)::text AS last_vacuum,
  greatest(s.last_analyze, s.last_autoanalyze)::text AS last_analyze,
  coalesce((SELECT json_agg(json_build_object('name', i.indexrelname, 'scans', i.idx_scan,
      'bytes', pg_relation_size(i.indexrelid)) ORDER BY i.indexrelname)
    FROM pg_stat_user_indexes i WHERE i.relid = c.oid), '[]')::text AS indexes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE n.nspname = $1 AND c.relname = $2

-- has_statements() reads
-- Where pg_stat_statements is, when it is there and loaded.
SELECT n.nspname AS schema, 'pg_stat_statements' = ANY (string_to_array(
    replace(current_setting('shared_preload_libraries'), ' ', ''), ',')) AS loaded
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'

-- advise_policies(schemas) reads
-- Policies that let clients change every row.
SELECT format('%I.%I', schemaname, tablename) AS target, policyname AS policy, cmd AS command
FROM pg_policies WHERE schemaname = ANY ($1::text[]) AND permissive = 'PERMISSIVE' AND cmd <> 'SELECT'
  AND (qual = 'true' AND cmd <> 'INSERT' OR with_check = 'true') ORDER BY 1, 2

-- advise_public_buckets() reads
-- Buckets that anybody may read.
SELECT id AS target FROM storage.buckets WHERE public ORDER BY id

-- advise_grants(schemas) reads
-- Rights of clients to write that no policy ever lets them use.
SELECT format('%I.%I', n.nspname, c.relname) AS target, a.privilege_type AS privilege,
  coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') AS grantee
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND c.relrowsecurity
  AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
  AND coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') IN ('anon', 'authenticated', 'PUBLIC')
  AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive
    AND (p.polcmd = '*' OR p.polcmd = CASE a.privilege_type WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END)
    AND (p.polroles = '{0}' OR EXISTS (SELECT FROM unnest(p.polroles) r
      WHERE a.grantee = 0 OR pg_has_role(a.grantee, r, 'MEMBER'))))
ORDER BY 1, 2

-- advise_foreign_keys(schemas) reads
-- Foreign keys that no index begins with: deleting what they refer to reads the whole table.
SELECT format('%I.%I', n.nspname, c.relname) AS target, k.conname AS key,
  (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY u.place)
   FROM unnest(k.conkey) WITH ORDINALITY u(number, place)
   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number) AS columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND n.nspname = ANY ($1::text[]) AND NOT EXISTS (
  SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
    AND (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
ORDER BY 1, 2

-- advise_duplicate_indexes(schemas) reads
-- Indexes that another one of the same table makes needless.
SELECT format('%I.%I', n.nspname, c.relname) AS target, a.indexrelid::regclass::text AS index,
  b.indexrelid::regclass::text AS other, pg_relation_size(a.indexrelid) AS bytes
FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
JOIN pg_class c ON c.oid = a.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1::text[]) AND NOT a.indisunique AND a.indkey::text = b.indkey::text
  AND a.indclass::text = b.indclass::text AND a.indoption::text = b.indoption::text
  AND a.indexprs IS NOT DISTINCT FROM b.indexprs AND a.indpred IS NOT DISTINCT FROM b.indpred
  AND (b.indisunique OR a.indexrelid > b.indexrelid)
ORDER BY 1, 2

-- advise_unused_indexes(schemas, bytes) reads
-- Indexes of some size that were never used since statistics are kept, and hold no rule.
SELECT format('%I.%I', s.schemaname, s.relname) AS target, s.indexrelid::regclass::text AS index,
  pg_relation_size(s.indexrelid) AS bytes
FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
WHERE s.schemaname = ANY ($1::text[]) AND s.idx_scan = 0 AND NOT i.indisunique
  AND pg_relation_size(s.indexrelid) >= $2::bigint
ORDER BY bytes DESC

-- advise_tables(schemas) reads
-- Large tables that are mostly read from end to end, or of which much is dead.
SELECT format('%I.%I', s.schemaname, s.relname) AS target, s.seq_scan AS seq_scans,
  coalesce(s.idx_scan, 0) AS index_scans, s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows
FROM pg_stat_user_tables s WHERE s.schemaname = ANY ($1::text[])
  AND (s.n_live_tup >= 10000 AND s.seq_scan > 100 AND s.seq_scan > coalesce(s.idx_scan, 0)
    OR s.n_dead_tup > 10000 AND s.n_dead_tup > s.n_live_tup / 5)
ORDER BY 1
