-- What was done, by whom, and what was refused. Rows are added, never changed.
-- migrate:up
CREATE TABLE platform.audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  request_id text,
  kind text,
  principal text,
  action text NOT NULL,
  target text,
  outcome text NOT NULL CHECK (outcome IN ('ok', 'denied', 'failed')),
  code text,
  arguments jsonb,
  arguments_mac text,
  rows integer,
  duration_ms real,
  remote inet
);
-- Rows come in the order of their time, which is all that a block range index needs.
CREATE INDEX audit_at ON platform.audit USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX audit_principal_at ON platform.audit (principal, at);
COMMENT ON COLUMN platform.audit.arguments IS 'The shape of the arguments: names and types, never values.';
COMMENT ON COLUMN platform.audit.arguments_mac IS 'HMAC of the arguments, to compare calls without keeping them.';

-- Called by the login roles before they become the caller's role, so the caller can neither forge nor
-- leave out a record; it is kept or lost together with the write that it tells of.
CREATE FUNCTION platform.write_audit(request_id text, kind text, principal text, action text, target text,
  arguments text, arguments_mac text, remote text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
  INSERT INTO platform.audit
    (request_id, kind, principal, action, target, outcome, arguments, arguments_mac, remote)
  VALUES ($1, $2, $3, $4, $5, 'ok', $6::jsonb, $7, $8::inet)
$$;
REVOKE EXECUTE ON FUNCTION platform.write_audit(text, text, text, text, text, text, text, text) FROM PUBLIC;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA platform TO %I, %I',
                 platform.login_name('client'), platform.login_name('service'));
  EXECUTE format('GRANT EXECUTE ON FUNCTION '
                 'platform.write_audit(text, text, text, text, text, text, text, text) TO %I, %I',
                 platform.login_name('client'), platform.login_name('service'));
END $$;
GRANT SELECT ON platform.audit TO service_role;
