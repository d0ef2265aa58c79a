-- find_key(id) reads
-- One key with what verifies it, and the settings that its role and base role carry.
SELECT k.*,
  ARRAY(SELECT host(c) || '/' || masklen(c) FROM unnest(k.allowed_cidrs) c) AS cidrs,
  k.claims::text AS claims_text,
  coalesce((SELECT array_agg(s ORDER BY r.rolname = k.role_name)
    FROM pg_roles r, unnest(r.rolconfig) s
    WHERE r.rolname IN (k.role_name, k.base_role)), '{}') AS settings
FROM auth.api_keys k WHERE k.id = $1

-- role_settings(role) reads
-- The settings that a role carries, as `name=value`.
SELECT coalesce(r.rolconfig, '{}') AS settings FROM pg_roles r WHERE r.rolname = $1

-- add_key(id, kind, name, role_name, base_role, user_id, claims, scopes, app_id, read_only, max_rows, rate_limit, allowed_tools, allowed_resources, allowed_schemas, allowed_tables, allowed_cidrs, pepper, mac, expires_at, untrusted_data, confirm)
-- Store a new key; its role is made in the same transaction.
INSERT INTO auth.api_keys (id, kind, name, role_name, base_role, user_id, claims, scopes, app_id, read_only,
  max_rows, rate_limit, allowed_tools, allowed_resources, allowed_schemas, allowed_tables, allowed_cidrs,
  pepper, mac, expires_at, untrusted_data, confirm)
VALUES ($1, $2, $3, $4, $5, $6::text::uuid, $7::text::jsonb, $8, $9, $10, $11, $12, $13, $14, $15, $16,
  $17::text[]::cidr[], $18, $19, $20, $21, $22)

-- create_key_role(role_name, base_role)
-- Make the Postgres role of a key.
SELECT auth.create_key_role($1, $2)

-- change_base_role(role_name, was, base_role)
-- Let a key's role inherit from another base role.
SELECT auth.change_base_role($1, $2, $3)

-- retire_key_role(role_name)
-- Take a key's role from the client login, so that nobody can become it any more.
SELECT auth.retire_key_role($1)

-- drop_key_role(role_name)
-- Remove a key's role with all its grants.
SELECT auth.drop_key_role($1)

-- allow_role(role)
-- Let the client login become a role that tokens map to; refused when it would bypass policies.
SELECT auth.allow_role($1)

-- list_keys(kind) reads
-- Every key of a kind without what verifies it, newest first.
SELECT id, kind, name, base_role, user_id::text, claims::text, scopes, app_id, read_only, max_rows, rate_limit,
  untrusted_data, confirm, allowed_tools, allowed_resources, allowed_schemas, allowed_tables,
  ARRAY(SELECT host(c) || '/' || masklen(c) FROM unnest(allowed_cidrs) c) AS allowed_cidrs,
  created_at, expires_at, revoked_at, last_used_at, host(last_used_from) AS last_used_from
FROM auth.api_keys WHERE kind = $1 ORDER BY created_at DESC, id

-- lock_key(kind, id_or_name)
-- Find a key by id or, when only one has it, by name, and keep others from changing it.
SELECT id, kind, name, role_name, base_role, revoked_at FROM auth.api_keys
WHERE kind = $1 AND (id = $2 OR name = $2) ORDER BY id = $2 DESC FOR UPDATE

-- update_key(id, changes)
-- Change the given fields of a key; a field that is absent from the JSON object stays.
UPDATE auth.api_keys k SET
  name = CASE WHEN c ? 'name' THEN c ->> 'name' ELSE k.name END,
  base_role = CASE WHEN c ? 'base_role' THEN c ->> 'base_role' ELSE k.base_role END,
  user_id = CASE WHEN c ? 'user_id' THEN (c ->> 'user_id')::uuid ELSE k.user_id END,
  claims = CASE WHEN c ? 'claims' THEN c -> 'claims' ELSE k.claims END,
  scopes = CASE WHEN c ? 'scopes' THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'scopes')) ELSE k.scopes END,
  app_id = CASE WHEN c ? 'app_id' THEN c ->> 'app_id' ELSE k.app_id END,
  read_only = CASE WHEN c ? 'read_only' THEN (c ->> 'read_only')::boolean ELSE k.read_only END,
  max_rows = CASE WHEN c ? 'max_rows' THEN (c ->> 'max_rows')::integer ELSE k.max_rows END,
  rate_limit = CASE WHEN c ? 'rate_limit' THEN (c ->> 'rate_limit')::integer ELSE k.rate_limit END,
  untrusted_data = CASE WHEN c ? 'untrusted_data' THEN c ->> 'untrusted_data' ELSE k.untrusted_data END,
  confirm = CASE WHEN c ? 'confirm' THEN c ->> 'confirm' ELSE k.confirm END,
  allowed_tools = CASE WHEN c ? 'allowed_tools'
    THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'allowed_tools')) ELSE k.allowed_tools END,
  allowed_resources = CASE WHEN c ? 'allowed_resources'
    THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'allowed_resources')) ELSE k.allowed_resources END,
  allowed_schemas = CASE WHEN c ? 'allowed_schemas'
    THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'allowed_schemas')) ELSE k.allowed_schemas END,
  allowed_tables = CASE WHEN c ? 'allowed_tables'
    THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'allowed_tables')) ELSE k.allowed_tables END,
  allowed_cidrs = CASE WHEN c ? 'allowed_cidrs'
    THEN ARRAY(SELECT jsonb_array_elements_text(c -> 'allowed_cidrs'))::cidr[] ELSE k.allowed_cidrs END,
  expires_at = CASE WHEN c ? 'expires_at' THEN (c ->> 'expires_at')::timestamptz ELSE k.expires_at END
FROM (SELECT $2::text::jsonb AS c) changes
WHERE k.id = $1

-- rotate_key(id, pepper, mac, previous_until)
-- Replace the secret; the old one stays valid until the given time.
UPDATE auth.api_keys SET previous_pepper = pepper, previous_mac = mac, previous_until = $4, pepper = $2, mac = $3
WHERE id = $1

-- revoke_key(id)
-- End a key; the first time counts.
UPDATE auth.api_keys SET revoked_at = coalesce(revoked_at, now()), previous_until = NULL WHERE id = $1

-- delete_key(id)
-- Remove a key from the books.
DELETE FROM auth.api_keys WHERE id = $1

-- touch_keys(uses)
-- Note when and from where keys were used last; uses are a JSON array.
UPDATE auth.api_keys k SET last_used_at = greatest(k.last_used_at, u.at), last_used_from = u.remote::inet
FROM json_to_recordset($1::text::json) AS u(id text, at timestamptz, remote text) WHERE k.id = u.id

-- let_key_log_in(role, verifier)
-- Let a key's role log in by itself.
SELECT auth.let_key_log_in($1, $2)
