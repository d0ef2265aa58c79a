-- A key's role may log in by itself, for SQL of the key's own making: on a connection that is nobody else's.
-- migrate:up
CREATE FUNCTION auth.let_key_log_in(role_name name, verifier text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  -- Postgres fails who changes a role or a database that another session is just changing.
  PERFORM pg_advisory_xact_lock(hashtextextended('fluxbase key logins', 0));
  IF NOT EXISTS (SELECT FROM auth.api_keys k WHERE k.role_name = $1 AND k.revoked_at IS NULL) THEN
    RAISE EXCEPTION 'no such key' USING ERRCODE = 'insufficient_privilege';
  END IF;
  EXECUTE format('ALTER ROLE %I LOGIN CONNECTION LIMIT 8 PASSWORD %L', role_name, verifier);
  IF NOT has_database_privilege(role_name, current_database(), 'CONNECT') THEN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION auth.retire_key_role(role_name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  EXECUTE format('REVOKE %I FROM %I', role_name, platform.login_name('client'));
  EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', role_name);
END $$;
REVOKE EXECUTE ON FUNCTION auth.let_key_log_in(name, text) FROM PUBLIC;
