-- load_tables() reads
-- Every table-like relation outside the system schemas, with columns and keys, one JSON object a row.
-- `invoker` holds when a view reads with its caller's rights, and so does all that it reads from: one
-- view or function with its owner's rights, or one table without policies, anywhere below opens it again.
WITH RECURSIVE reads AS (
  SELECT r.ev_class AS reader, d.refobjid AS source
  FROM pg_rewrite r
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
), open AS (
  SELECT c.oid FROM pg_class c
  WHERE c.relkind IN ('m', 'f') OR c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
    OR c.relkind = 'v' AND NOT coalesce(c.reloptions::text[] && ARRAY['security_invoker=true',
      'security_invoker=on', 'security_invoker=1', 'security_invoker=yes'], false)
    OR c.oid IN (SELECT r.ev_class FROM pg_rewrite r
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_proc'::regclass
      JOIN pg_proc p ON p.oid = d.refobjid AND p.prosecdef)
  UNION
  SELECT r.reader FROM reads r JOIN open o ON o.oid = r.source
)
SELECT json_build_object(
  'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
  'comment', obj_description(c.oid, 'pg_class'),
  'rls', c.relrowsecurity,
  'heirs', c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),
  'invoker', c.relkind = 'v' AND NOT EXISTS (SELECT FROM open o WHERE o.oid = c.oid),
  'columns', (
    SELECT coalesce(json_agg(json_build_object(
      'number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'base', format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid), NULL),
      'cast', (
        SELECT format('%I.%I', n.nspname, coalesce(e.typname, b.typname)) || CASE WHEN e.oid IS NULL THEN '' ELSE '[]' END
        FROM pg_type b LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
        JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, b.typnamespace)
        WHERE b.oid = coalesce(nullif(t.typbasetype, 0), a.atttypid)),
      'category', t.typcategory, 'element', EXISTS (
        SELECT FROM pg_type b WHERE b.oid = coalesce(nullif(t.typbasetype, 0), t.oid) AND b.typelem <> 0
        AND b.typcategory = 'A'),
      'not_null', a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid),
      'generated', a.attgenerated <> '' OR a.attidentity = 'a', 'identity', a.attidentity <> '',
      'comment', col_description(c.oid, a.attnum),
      'values', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
                 WHERE e.enumtypid = coalesce(nullif(t.typbasetype, 0), a.atttypid))
    ) ORDER BY a.attnum), '[]')
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'computed', (
    SELECT coalesce(json_agg(json_build_object(
      'name', p.proname, 'function', format('%I.%I', pn.nspname, p.proname),
      'type', format_type(p.prorettype, NULL),
      'base', format_type(coalesce(nullif(t.typbasetype, 0), p.prorettype), NULL),
      'cast', (
        SELECT format('%I.%I', n.nspname, coalesce(e.typname, b.typname)) || CASE WHEN e.oid IS NULL THEN '' ELSE '[]' END
        FROM pg_type b LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
        JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, b.typnamespace)
        WHERE b.oid = coalesce(nullif(t.typbasetype, 0), p.prorettype)),
      'category', t.typcategory, 'element', t.typelem <> 0 AND t.typcategory = 'A',
      'comment', obj_description(p.oid, 'pg_proc'), 'values', NULL
    ) ORDER BY p.proname), '[]')
    FROM pg_proc p
    JOIN pg_namespace pn ON pn.oid = p.pronamespace
    JOIN pg_type t ON t.oid = p.prorettype
    WHERE p.pronamespace = c.relnamespace AND p.pronargs = 1 AND p.proargtypes[0] = c.reltype AND p.prokind = 'f'
      -- One that runs with its owner's rights would open what policies close.
      AND NOT p.prosecdef AND NOT p.proretset AND t.typtype <> 'p'
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = p.proname)),
  'rule', CASE WHEN c.relkind IN ('v', 'm') THEN (
    SELECT r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN') END,
  'constraints', (
    SELECT coalesce(json_agg(json_build_object(
      'name', k.conname, 'type', k.contype, 'inherited', k.conparentid <> 0,
      'follows', k.confdeltype NOT IN ('a', 'r'),
      'columns', (SELECT json_agg(a.attname ORDER BY o.n) FROM unnest(k.conkey) WITH ORDINALITY o(num, n)
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.num),
      'foreign', k.confrelid::bigint,
      'foreign_columns', (SELECT json_agg(a.attname ORDER BY o.n)
                  FROM unnest(k.confkey) WITH ORDINALITY o(num, n)
                  JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.num)
    ) ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f')),
  'indexes', (
    SELECT coalesce(json_agg(json_build_object(
      'name', i.relname, 'unique', x.indisunique, 'method', m.amname,
      'columns', (SELECT json_agg(pg_get_indexdef(x.indexrelid, g, true) ORDER BY g)
                  FROM generate_series(1, x.indnkeyatts) g)
    ) ORDER BY i.relname), '[]')
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
    WHERE x.indrelid = c.oid AND x.indislive),
  'policies', (
    SELECT coalesce(json_agg(json_build_object(
      'name', p.polname, 'permissive', p.polpermissive,
      'command', CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                 WHEN 'd' THEN 'delete' ELSE 'all' END,
      'roles', (SELECT json_agg(r.rolname ORDER BY r.rolname) FROM pg_roles r WHERE r.oid = ANY (p.polroles)),
      'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)
    ) ORDER BY p.polname), '[]')
    FROM pg_policy p WHERE p.polrelid = c.oid)
)::text AS relation
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype = 'e')
ORDER BY n.nspname, c.relname

-- load_grants(role) reads
-- What a role may do with each relation: per right the columns it is held on, null for all of them.
-- What a client role owns is left out: policies do not bind an owner unless they are forced.
SELECT c.oid::bigint AS oid, has_table_privilege($1, c.oid, 'DELETE') AS delete,
  CASE WHEN NOT has_table_privilege($1, c.oid, 'SELECT') THEN ARRAY(
    SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND has_column_privilege($1, c.oid, a.attnum, 'SELECT')) END AS select,
  CASE WHEN NOT has_table_privilege($1, c.oid, 'INSERT') THEN ARRAY(
    SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND has_column_privilege($1, c.oid, a.attnum, 'INSERT')) END AS insert,
  CASE WHEN NOT has_table_privilege($1, c.oid, 'UPDATE') THEN ARRAY(
    SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND has_column_privilege($1, c.oid, a.attnum, 'UPDATE')) END AS update,
  ARRAY(SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = c.relnamespace AND p.pronargs = 1
    AND p.proargtypes[0] = c.reltype AND has_function_privilege($1, p.oid, 'EXECUTE')) AS computed
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND has_schema_privilege($1, n.oid, 'USAGE')
  AND ($1 = 'service_role' OR NOT c.relrowsecurity OR c.relforcerowsecurity
       OR NOT pg_has_role($1, c.relowner, 'USAGE'))
  AND (has_table_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
       OR has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE'))

-- load_memberships(role) reads
-- The roles whose policies apply to a role: itself and all that it is a member of.
SELECT r.rolname::text AS role FROM pg_roles r WHERE pg_has_role($1, r.oid, 'USAGE')

-- catalog_fingerprint() reads
-- Changes whenever the catalog that is shown to callers changes; for servers without the event trigger.
SELECT md5(concat_ws('/',
  (SELECT string_agg(concat_ws(',', oid, relname, relrowsecurity, reloptions, relacl, xmin), ';' ORDER BY oid)
   FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'i')
     AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')),
  (SELECT string_agg(concat_ws(',', oid, nspname, nspacl), ';' ORDER BY oid) FROM pg_namespace WHERE nspname !~ '^pg_'),
  (SELECT string_agg(concat_ws(',', a.attrelid, a.attnum, a.xmin), ';' ORDER BY a.attrelid, a.attnum)
   FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE a.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
     AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
  (SELECT string_agg(concat_ws(',', oid, xmin), ';' ORDER BY oid) FROM pg_policy),
  (SELECT string_agg(concat_ws(',', p.oid, p.xmin), ';' ORDER BY p.oid) FROM pg_proc p
   JOIN pg_class c ON p.pronargs = 1 AND p.proargtypes[0] = c.reltype AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   WHERE p.oid >= 16384),
  (SELECT string_agg(concat_ws(',', oid, xmin), ';' ORDER BY oid) FROM pg_constraint),
  (SELECT string_agg(concat_ws(',', oid, xmin), ';' ORDER BY oid) FROM pg_attrdef),
  (SELECT string_agg(concat_ws(',', oid, xmin), ';' ORDER BY oid) FROM pg_enum),
  (SELECT string_agg(concat_ws(',', objoid, objsubid, md5(description)), ';' ORDER BY objoid, objsubid)
   FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid >= 16384)
)) AS fingerprint

-- has_event_trigger() reads
-- Whether this database announces changes of its catalog by itself.
SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'fluxbase_catalog_changed' AND evtenabled <> 'D')
  AS found

-- lint_exposure(schemas, exceptions) reads
-- What is exposed unsafely to client roles, one finding a row.
WITH roles AS (
  SELECT r.oid, r.rolname FROM pg_roles r
  WHERE r.rolname <> platform.login_name('client') AND pg_has_role(platform.login_name('client'), r.oid, 'MEMBER')
), relations AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reloptions,
    format('%s.%s', n.nspname, c.relname) AS full_name,
    ARRAY(SELECT rolname FROM roles r WHERE has_schema_privilege(r.oid, n.oid, 'USAGE')
      AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
        OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))) AS granted
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
)
SELECT 'table_without_rls' AS lint, full_name AS target FROM relations
  WHERE relkind IN ('r', 'p') AND NOT relrowsecurity AND granted <> '{}' AND NOT full_name = ANY ($2::text[])
UNION ALL
SELECT 'view_not_security_invoker', full_name FROM relations
  WHERE relkind = 'v' AND granted <> '{}' AND NOT full_name = ANY ($2::text[])
    AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on',
      'security_invoker=1', 'security_invoker=yes'], false)
UNION ALL
SELECT 'materialized_view_exposed', full_name FROM relations
  WHERE relkind = 'm' AND granted <> '{}' AND NOT full_name = ANY ($2::text[])
UNION ALL
SELECT 'foreign_table_exposed', full_name FROM relations
  WHERE relkind = 'f' AND granted <> '{}' AND NOT full_name = ANY ($2::text[])
UNION ALL
SELECT 'rls_without_policy', r.full_name FROM relations r
  WHERE relrowsecurity AND granted <> '{}' AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid)
UNION ALL
SELECT 'schema_create_granted', n.nspname FROM pg_namespace n
  WHERE n.nspname = ANY ($1::text[]) AND EXISTS (SELECT FROM roles r WHERE has_schema_privilege(r.oid, n.oid, 'CREATE'))
UNION ALL
SELECT 'security_definer_without_search_path', format('%s.%s', n.nspname, p.proname)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = ANY ($1::text[]) AND p.prosecdef
    AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
    AND EXISTS (SELECT FROM roles r WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE'))
UNION ALL
SELECT 'login_may_bypass_rls', r.rolname::text FROM pg_roles r
  WHERE r.rolname = platform.login_name('client') AND (r.rolsuper OR r.rolbypassrls
    OR pg_has_role(r.oid, 'service_role', 'MEMBER'))
UNION ALL
SELECT 'service_role_obeys_rls', 'service_role'
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role' AND (rolbypassrls OR rolsuper))
ORDER BY 1, 2
