-- Procedures: functions of the database that administrators publish for keys to call.
-- migrate:up
CREATE SCHEMA rpc;
GRANT USAGE ON SCHEMA rpc TO service_role;

CREATE TABLE rpc.procedures (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL DEFAULT 'default' CHECK (namespace ~ '^[a-z][a-z0-9_-]{0,62}$'),
  name text NOT NULL CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_-]{0,62}$'),
  function text NOT NULL,
  public boolean NOT NULL DEFAULT false,
  required_roles text[] NOT NULL DEFAULT '{}',
  required_scopes text[] NOT NULL DEFAULT '{}',
  timeout_seconds double precision NOT NULL DEFAULT 30 CHECK (timeout_seconds > 0 AND timeout_seconds <= 3600),
  max_rows integer NOT NULL DEFAULT 1000 CHECK (max_rows BETWEEN 1 AND 100000),
  read_only boolean NOT NULL DEFAULT false,
  file text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (namespace, name)
);
COMMENT ON COLUMN rpc.procedures.function IS 'Its name and the types of its arguments, such as public.add(integer, integer).';
COMMENT ON COLUMN rpc.procedures.public IS 'Every key with the scope execute:rpc may call it; else those with one of the roles and all of the scopes.';
COMMENT ON COLUMN rpc.procedures.file IS 'The file that it was published from.';

CREATE TABLE rpc.executions (
  id uuid PRIMARY KEY,
  namespace text NOT NULL,
  name text NOT NULL,
  holder text NOT NULL,
  status text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
  error text,
  rows bigint,
  started_at timestamptz NOT NULL,
  duration_ms double precision NOT NULL
);
CREATE INDEX executions_holder ON rpc.executions (holder, started_at DESC);
CREATE INDEX executions_started ON rpc.executions (started_at);
COMMENT ON COLUMN rpc.executions.holder IS 'Whose call it was; nobody else is told of it.';
GRANT SELECT ON rpc.procedures, rpc.executions TO service_role;

-- Runs the statements of a file inside a transaction that they cannot end.
CREATE FUNCTION rpc.run_file(statements text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statements;
END $$;
REVOKE EXECUTE ON FUNCTION rpc.run_file FROM PUBLIC;
