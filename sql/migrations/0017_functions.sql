-- Edge functions: code of administrators that keys may invoke, its versions, and what became of each call.
-- migrate:up
CREATE SCHEMA IF NOT EXISTS functions;
GRANT USAGE ON SCHEMA functions TO service_role;

CREATE TABLE functions.functions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL DEFAULT 'default' CHECK (namespace ~ '^[a-z][a-z0-9_-]{0,62}$'),
  name text NOT NULL CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_-]{0,62}$'),
  description text,
  public boolean NOT NULL DEFAULT false,
  required_roles text[] NOT NULL DEFAULT '{}',
  required_scopes text[] NOT NULL DEFAULT '{}',
  timeout_seconds double precision NOT NULL DEFAULT 30 CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
  runs_as text NOT NULL DEFAULT 'caller' CHECK (runs_as IN ('caller', 'service')),
  isolation text NOT NULL DEFAULT 'caller' CHECK (isolation IN ('caller', 'shared')),
  version integer NOT NULL DEFAULT 0,
  file text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (namespace, name)
);
COMMENT ON COLUMN functions.functions.public IS 'Every key with the scope execute:functions may invoke it; else those with one of the roles and all of the scopes.';
COMMENT ON COLUMN functions.functions.runs_as IS 'Whose rights its calls of tools have: those of its caller, or those of a service key.';
COMMENT ON COLUMN functions.functions.isolation IS 'Whether calls of several callers may follow each other in one process.';
COMMENT ON COLUMN functions.functions.version IS 'The version that is invoked.';
COMMENT ON COLUMN functions.functions.file IS 'The file that it was deployed from.';

CREATE TABLE functions.versions (
  function uuid NOT NULL REFERENCES functions.functions ON DELETE CASCADE,
  version integer NOT NULL,
  code text NOT NULL,
  sources jsonb NOT NULL,
  deployed_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (function, version)
);
COMMENT ON COLUMN functions.versions.code IS 'One JavaScript module, with all that it imports and a source map.';
COMMENT ON COLUMN functions.versions.sources IS 'The files as they were deployed, by their names.';

CREATE TABLE functions.executions (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  holder text NOT NULL,
  status text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
  http_status integer,
  error text,
  started_at timestamptz NOT NULL,
  duration_ms double precision NOT NULL,
  lines_lost integer NOT NULL DEFAULT 0
);
CREATE INDEX executions_function ON functions.executions (namespace, name, started_at DESC);
CREATE INDEX executions_started ON functions.executions (started_at);
COMMENT ON COLUMN functions.executions.holder IS 'Whose call it was; nobody else is told of it.';
COMMENT ON COLUMN functions.executions.lines_lost IS 'Lines of the log that were too many to keep.';

CREATE TABLE functions.logs (
  execution uuid NOT NULL REFERENCES functions.executions ON DELETE CASCADE,
  number integer NOT NULL,
  level text NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
  message text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (execution, number)
);
GRANT SELECT ON functions.functions, functions.versions, functions.executions, functions.logs TO service_role;

CREATE FUNCTION functions.announce() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('fluxbase_functions', '');
  RETURN NULL;
END $$;
CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON functions.functions
  FOR EACH STATEMENT EXECUTE FUNCTION functions.announce();

-- Keeps a version and puts it into force; of the old ones the newest twenty stay. Returns its number.
CREATE FUNCTION functions.put_version(which uuid, module text, files jsonb, who text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number integer;
BEGIN
  SELECT v.version INTO number FROM functions.functions f JOIN functions.versions v ON v.function = f.id AND v.version = f.version
  WHERE f.id = which AND v.code = module AND v.sources = files;
  IF FOUND THEN
    RETURN number;
  END IF;
  SELECT coalesce(max(v.version), 0) + 1 INTO number FROM functions.versions v WHERE v.function = which;
  INSERT INTO functions.versions (function, version, code, sources, deployed_by) VALUES (which, number, module, files, who);
  UPDATE functions.functions SET version = number WHERE id = which;
  DELETE FROM functions.versions v WHERE v.function = which AND v.version <= number - 20;
  RETURN number;
END $$;
REVOKE EXECUTE ON FUNCTION functions.put_version, functions.announce FROM PUBLIC;
