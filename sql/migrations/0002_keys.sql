-- Client and service keys, and the identity that hangs on a key's Postgres role.
-- migrate:up
CREATE TABLE auth.api_keys (
  id text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{8}$'),
  kind text NOT NULL CHECK (kind IN ('client_key', 'service_key')),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  role_name name UNIQUE CHECK ((kind = 'client_key') = (role_name IS NOT NULL)),
  base_role name NOT NULL,
  user_id uuid,
  claims jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(claims) = 'object'),
  scopes text[] NOT NULL,
  app_id text,
  read_only boolean NOT NULL DEFAULT false,
  max_rows integer CHECK (max_rows > 0),
  rate_limit integer CHECK (rate_limit > 0),
  allowed_tools text[] NOT NULL DEFAULT '{}',
  allowed_resources text[] NOT NULL DEFAULT '{}',
  allowed_schemas text[] NOT NULL DEFAULT '{}',
  allowed_tables text[] NOT NULL DEFAULT '{}',
  allowed_cidrs cidr[] NOT NULL DEFAULT '{}',
  pepper text NOT NULL,
  mac bytea NOT NULL CHECK (length(mac) = 32),
  previous_pepper text,
  previous_mac bytea,
  previous_until timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  last_used_from inet
);
COMMENT ON TABLE auth.api_keys IS 'Keys by id. Secrets are kept as HMACs under a pepper that is not in the database.';

GRANT SELECT (id, kind, name, role_name, base_role, user_id, claims, scopes, app_id, read_only, max_rows,
  rate_limit, allowed_tools, allowed_resources, allowed_schemas, allowed_tables, allowed_cidrs,
  created_at, expires_at, revoked_at, last_used_at, last_used_from) ON auth.api_keys TO service_role;

-- Every instance drops what it remembers of the key; the use of a key is not a change of it.
CREATE FUNCTION auth.notify_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM pg_notify('fluxbase_keys', coalesce(NEW.id, OLD.id));
  RETURN NULL;
END $$;
CREATE TRIGGER notify_change AFTER INSERT OR DELETE ON auth.api_keys
  FOR EACH ROW EXECUTE FUNCTION auth.notify_key();
CREATE TRIGGER notify_update AFTER UPDATE ON auth.api_keys FOR EACH ROW
  WHEN ((to_jsonb(OLD) - 'last_used_at' - 'last_used_from')
        IS DISTINCT FROM (to_jsonb(NEW) - 'last_used_at' - 'last_used_from'))
  EXECUTE FUNCTION auth.notify_key();

-- The key whose role the caller is. current_user inside a view is the caller, and no setting changes
-- it. In a function that runs with its owner's rights, `role` still tells who called: Postgres keeps
-- it, and lets nobody set it there. session_user covers a login of the key itself.
CREATE VIEW auth.current_key WITH (security_barrier) AS
  SELECT id, role_name, base_role, user_id, claims, app_id
  FROM auth.api_keys
  WHERE role_name IN (current_user, session_user, current_setting('role')::name) AND revoked_at IS NULL
  ORDER BY role_name = current_user DESC;

CREATE FUNCTION auth.jwt() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE key record;
BEGIN
  SELECT * INTO key FROM auth.current_key LIMIT 1;
  IF FOUND THEN
    RETURN key.claims || jsonb_strip_nulls(jsonb_build_object('sub', key.user_id,
      'role', key.base_role, 'client_key_id', key.id, 'app_id', key.app_id));
  END IF;
  RETURN coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
END $$;

-- Written out rather than built on auth.jwt(): policies call it for every row unless they say
-- (select auth.uid()).
CREATE FUNCTION auth.uid() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
  id uuid;
  sub text;
BEGIN
  SELECT user_id INTO id FROM auth.current_key LIMIT 1;
  IF FOUND THEN
    RETURN id;
  END IF;
  sub := nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';
  RETURN CASE WHEN sub ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN sub::uuid END;
END $$;

CREATE FUNCTION auth.role() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(auth.jwt() ->> 'role', current_user::text)
$$;

CREATE FUNCTION auth.email() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT auth.jwt() ->> 'email' $$;

CREATE FUNCTION auth.client_key_id() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT id FROM auth.current_key LIMIT 1 $$;

GRANT USAGE ON SCHEMA auth TO PUBLIC;
GRANT SELECT ON auth.current_key TO PUBLIC;

-- A base role must not be a way round row-level security.
CREATE FUNCTION auth.check_base_role(base name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = base) THEN
    RAISE EXCEPTION 'unknown base role' USING ERRCODE = 'FX001';
  END IF;
  IF EXISTS (
    SELECT FROM pg_roles r
    WHERE pg_has_role(base, r.oid, 'MEMBER')
      AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcanlogin OR r.rolname ~ '^pg_'
           OR r.rolname = 'service_role'
           OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p')))
  ) THEN
    RAISE EXCEPTION 'unsafe base role' USING ERRCODE = 'FX002';
  END IF;
END $$;

CREATE FUNCTION auth.create_key_role(role_name name, base name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM auth.check_base_role(base);
  EXECUTE format('CREATE ROLE %I NOLOGIN INHERIT NOCREATEDB NOCREATEROLE', role_name);
  EXECUTE format('GRANT %I TO %I', base, role_name);
  EXECUTE format('GRANT %I TO %I', role_name, platform.login_name('client'));
END $$;

CREATE FUNCTION auth.change_base_role(role_name name, was name, base name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM auth.check_base_role(base);
  EXECUTE format('REVOKE %I FROM %I', was, role_name);
  EXECUTE format('GRANT %I TO %I', base, role_name);
END $$;

CREATE FUNCTION auth.allow_role(role_name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM auth.check_base_role(role_name);
  EXECUTE format('GRANT %I TO %I', role_name, platform.login_name('client'));
END $$;

-- The database itself then refuses to become the role, whatever a server still remembers.
CREATE FUNCTION auth.retire_key_role(role_name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  EXECUTE format('REVOKE %I FROM %I', role_name, platform.login_name('client'));
END $$;

CREATE FUNCTION auth.drop_key_role(role_name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
  IF current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT TRUE', role_name);
  END IF;
  EXECUTE format('DROP OWNED BY %I', role_name);
  EXECUTE format('DROP ROLE %I', role_name);
END $$;

REVOKE EXECUTE ON FUNCTION auth.notify_key(), auth.allow_role(name), auth.check_base_role(name),
  auth.create_key_role(name, name), auth.change_base_role(name, name, name),
  auth.retire_key_role(name), auth.drop_key_role(name) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION platform.ensure_role(name, text) FROM PUBLIC;
