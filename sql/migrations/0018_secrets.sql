-- Secrets of edge functions, sealed with a key that is not in the database.
-- migrate:up
CREATE SCHEMA IF NOT EXISTS functions;

CREATE TABLE functions.secrets (
  namespace text NOT NULL CHECK (namespace = '*' OR namespace ~ '^[a-z][a-z0-9_-]{0,62}$'),
  name text NOT NULL CHECK (name ~ '^[A-Z][A-Z0-9_]{0,62}$'),
  pepper text NOT NULL,
  nonce bytea NOT NULL CHECK (length(nonce) = 12),
  sealed bytea NOT NULL,
  set_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (namespace, name)
);
COMMENT ON COLUMN functions.secrets.namespace IS 'Whose functions have it; *: those of every namespace, unless it has one of the same name.';
COMMENT ON COLUMN functions.secrets.pepper IS 'The version of the pepper that the key is derived from.';
COMMENT ON COLUMN functions.secrets.sealed IS 'AES-256-GCM; its namespace and name are authenticated with it.';

CREATE FUNCTION functions.announce_secrets() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('fluxbase_functions', '');
  RETURN NULL;
END $$;
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON functions.secrets
  FOR EACH STATEMENT EXECUTE FUNCTION functions.announce_secrets();
REVOKE EXECUTE ON FUNCTION functions.announce_secrets FROM PUBLIC;
