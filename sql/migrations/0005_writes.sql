-- What a write leaves behind beside its record: its rows as they were before, and its answer under the
-- caller's idempotency key. Both are kept or lost together with the write.
-- migrate:up
CREATE TABLE platform.undo (
  audit_id bigint PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  target text NOT NULL,
  action text NOT NULL,
  before json,
  inserted json,
  complete boolean NOT NULL
);
CREATE INDEX undo_at ON platform.undo USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE platform.undo IS 'What administrators need to take a write back.';
COMMENT ON COLUMN platform.undo.before IS 'The rows that were changed or deleted, as the caller could read them.';
COMMENT ON COLUMN platform.undo.inserted IS 'The primary keys of the rows that were inserted.';
COMMENT ON COLUMN platform.undo.complete IS 'False when the rows were too large to be kept, or some could not be read.';
GRANT SELECT ON platform.undo TO service_role;

CREATE TABLE platform.idempotency (
  principal text NOT NULL,
  key text NOT NULL,
  action text NOT NULL,
  arguments_mac text NOT NULL,
  answer text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_at ON platform.idempotency (at);
COMMENT ON TABLE platform.idempotency IS 'Answers of writes that a caller may send again, for a day.';

DROP FUNCTION platform.write_audit(text, text, text, text, text, text, text, text);
-- The functions below are called by the login roles while they are not the caller's role: before the
-- caller's own statement and after it, in one transaction with it.
CREATE FUNCTION platform.write_audit(request_id text, kind text, principal text, action text, target text,
  arguments text, arguments_mac text, remote text) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO platform.audit
    (request_id, kind, principal, action, target, outcome, arguments, arguments_mac, remote)
  VALUES ($1, $2, $3, $4, $5, 'ok', $6::jsonb, $7, $8::inet) RETURNING id
$$;

-- Null when the key is new; the empty text when it was used for another call; else the answer given then.
-- A second call that comes while the first still runs waits for its end.
CREATE FUNCTION platform.claim_key(principal text, key text, action text, arguments_mac text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known platform.idempotency;
BEGIN
  DELETE FROM platform.idempotency i
    WHERE i.principal = $1 AND i.key = $2 AND i.at < now() - interval '1 day';
  INSERT INTO platform.idempotency (principal, key, action, arguments_mac) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING;
  IF FOUND THEN
    RETURN NULL;
  END IF;
  SELECT * INTO known FROM platform.idempotency i WHERE i.principal = $1 AND i.key = $2;
  IF known.action IS DISTINCT FROM $3 OR known.arguments_mac IS DISTINCT FROM $4 OR known.answer IS NULL THEN
    RETURN '';
  END IF;
  RETURN known.answer;
END $$;

-- Only what this very transaction has begun can be finished.
CREATE FUNCTION platform.finish_write(audit_id bigint, rows integer, before json, inserted json, complete boolean,
  principal text, key text, answer text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  written platform.audit;
BEGIN
  UPDATE platform.audit a SET rows = $2
    WHERE a.id = $1 AND a.rows IS NULL AND a.xmin = pg_current_xact_id()::xid RETURNING a.* INTO written;
  IF NOT FOUND THEN
    -- Something within the caller's statement became the login again and finished the write itself.
    RAISE EXCEPTION 'this write was finished already' USING ERRCODE = 'FX003';
  END IF;
  IF $3 IS NOT NULL OR $4 IS NOT NULL OR NOT $5 THEN
    INSERT INTO platform.undo (audit_id, target, action, before, inserted, complete)
    VALUES ($1, written.target, written.action, $3, $4, $5);
  END IF;
  IF $7 IS NOT NULL THEN
    UPDATE platform.idempotency i SET answer = $8
      WHERE i.principal = $6 AND i.key = $7 AND i.answer IS NULL AND i.xmin = pg_current_xact_id()::xid;
  END IF;
END $$;
REVOKE EXECUTE ON FUNCTION
  platform.write_audit(text, text, text, text, text, text, text, text),
  platform.claim_key(text, text, text, text),
  platform.finish_write(bigint, integer, json, json, boolean, text, text, text) FROM PUBLIC;
DO $$
BEGIN
  EXECUTE format('GRANT EXECUTE ON FUNCTION '
                 'platform.write_audit(text, text, text, text, text, text, text, text), '
                 'platform.claim_key(text, text, text, text), '
                 'platform.finish_write(bigint, integer, json, json, boolean, text, text, text) TO %I, %I',
                 platform.login_name('client'), platform.login_name('service'));
END $$;
-- Temporary objects must come last where a name is looked up with the owner's rights.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'platform'::regnamespace AND p.prosecdef LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', f);
  END LOOP;
END $$;
