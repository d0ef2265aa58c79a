-- People who log in, and the assistants that they let act for them.
-- migrate:up
CREATE TABLE auth.users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254 AND email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  password_hash text NOT NULL,
  role name NOT NULL DEFAULT 'authenticated',
  scopes text[] NOT NULL,
  is_admin boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  disabled_at timestamptz,
  last_login_at timestamptz
);
CREATE UNIQUE INDEX users_email ON auth.users (lower(email));
COMMENT ON COLUMN auth.users.scopes IS 'What the user may let an assistant do.';

CREATE TABLE auth.oauth_clients (
  id text PRIMARY KEY,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  redirect_uris text[] NOT NULL CHECK (cardinality(redirect_uris) BETWEEN 1 AND 20),
  auth_method text NOT NULL CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post')),
  secret_mac bytea CHECK ((secret_mac IS NULL) = (auth_method = 'none')),
  registered_by text NOT NULL CHECK (registered_by IN ('administrator', 'itself')),
  created_at timestamptz NOT NULL DEFAULT now(),
  used_at timestamptz
);
COMMENT ON TABLE auth.oauth_clients IS 'Clients that registered; those that publish a metadata document are not kept.';

-- A grant is one user's yes to one client: codes and tokens of it form a family that ends together.
CREATE TABLE auth.oauth_grants (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
  client_id text NOT NULL,
  client_name text NOT NULL,
  client_host text NOT NULL,
  scopes text[] NOT NULL,
  resource text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  used_at timestamptz,
  revoked_at timestamptz,
  revoked_because text
);
CREATE INDEX oauth_grants_user ON auth.oauth_grants (user_id);

CREATE TABLE auth.oauth_codes (
  hash bytea PRIMARY KEY,
  grant_id uuid NOT NULL REFERENCES auth.oauth_grants ON DELETE CASCADE,
  redirect_uri text NOT NULL,
  challenge text NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX oauth_codes_grant ON auth.oauth_codes (grant_id);

CREATE TABLE auth.oauth_refresh_tokens (
  hash bytea PRIMARY KEY,
  grant_id uuid NOT NULL REFERENCES auth.oauth_grants ON DELETE CASCADE,
  scopes text[] NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX oauth_refresh_tokens_grant ON auth.oauth_refresh_tokens (grant_id);

CREATE TABLE auth.web_sessions (
  hash bytea PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);
CREATE INDEX web_sessions_user ON auth.web_sessions (user_id);
COMMENT ON TABLE auth.web_sessions IS 'Browsers that are logged in, by the hash of their cookie.';

GRANT SELECT (id, email, role, scopes, is_admin, created_at, disabled_at, last_login_at) ON auth.users TO service_role;
GRANT SELECT ON auth.oauth_grants TO service_role;
GRANT SELECT (id, name, redirect_uris, auth_method, registered_by, created_at, used_at) ON auth.oauth_clients
  TO service_role;

-- Every instance drops what it remembers of a grant that ended, or of a user that changed.
CREATE FUNCTION auth.notify_grant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM pg_notify('fluxbase_grants', OLD.id::text);
  RETURN NULL;
END $$;
CREATE TRIGGER notify_end AFTER DELETE OR UPDATE OF revoked_at ON auth.oauth_grants
  FOR EACH ROW EXECUTE FUNCTION auth.notify_grant();
CREATE TRIGGER notify_change AFTER DELETE OR UPDATE OF email, role, scopes, disabled_at ON auth.users
  FOR EACH ROW EXECUTE FUNCTION auth.notify_grant();
REVOKE EXECUTE ON FUNCTION auth.notify_grant() FROM PUBLIC;
