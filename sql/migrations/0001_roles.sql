-- Who may log in, who may be become, and what nobody has by default.
-- migrate:up
CREATE SCHEMA IF NOT EXISTS platform;
CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS extensions;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions;

-- Roles belong to the whole cluster, databases do not: logins carry the database's name so that two
-- deployments on one cluster never share one.
CREATE FUNCTION platform.login_name(kind text) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT (left(current_database(), 54) || '_' || kind)::name
$$;

CREATE FUNCTION platform.ensure_role(role_name name, attributes text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
    EXECUTE format('CREATE ROLE %I %s', role_name, attributes);
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- another database of the cluster was faster
END $$;

SELECT platform.ensure_role('anon', 'NOLOGIN NOINHERIT'),
       platform.ensure_role('authenticated', 'NOLOGIN NOINHERIT'),
       platform.ensure_role(platform.login_name('client'), 'LOGIN NOINHERIT'),
       platform.ensure_role(platform.login_name('service'), 'LOGIN NOINHERIT');

-- BYPASSRLS can only be given by who has it. Elsewhere service_role takes over the owner's tables by
-- membership, and where not even that is allowed `fluxbase doctor` says that it obeys the policies.
DO $$
BEGIN
  PERFORM platform.ensure_role('service_role', 'NOLOGIN INHERIT BYPASSRLS');
EXCEPTION WHEN insufficient_privilege THEN
  PERFORM platform.ensure_role('service_role', 'NOLOGIN INHERIT');
  BEGIN
    EXECUTE format('GRANT %I TO service_role', current_user);
  EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
    RAISE NOTICE 'service_role obeys row-level security';
  END;
END $$;

DO $$
BEGIN
  EXECUTE format('GRANT anon, authenticated TO %I', platform.login_name('client'));
  EXECUTE format('GRANT service_role TO %I', platform.login_name('service'));
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I, %I', current_database(),
                 platform.login_name('client'), platform.login_name('service'));
  EXECUTE format('ALTER DATABASE %I SET search_path = public, extensions', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public, extensions TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON ROUTINES TO service_role;
GRANT ALL ON ALL TABLES IN SCHEMA public TO service_role;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO service_role;
GRANT USAGE ON SCHEMA platform, auth TO service_role;
