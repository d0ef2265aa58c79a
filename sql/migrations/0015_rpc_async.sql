-- Calls of procedures that run in the background, and procedures whose answers are kept for a while.
-- migrate:up
ALTER TABLE rpc.procedures
  ADD COLUMN cache_seconds double precision NOT NULL DEFAULT 0 CHECK (cache_seconds BETWEEN 0 AND 86400),
  ADD CHECK (cache_seconds = 0 OR read_only);

ALTER TABLE rpc.executions
  DROP CONSTRAINT executions_status_check,
  ADD CONSTRAINT executions_status_check CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
  ALTER COLUMN duration_ms DROP NOT NULL,
  ADD CHECK (status = 'running' OR duration_ms IS NOT NULL);

-- Apart from rpc.executions, which administrators may read: what a call gave is its caller's alone.
CREATE TABLE rpc.runs (
  execution uuid PRIMARY KEY REFERENCES rpc.executions ON DELETE CASCADE,
  reader text NOT NULL,
  effect_key text NOT NULL,
  call_mac text NOT NULL,
  lease_until timestamptz NOT NULL,
  cancel_wanted boolean NOT NULL DEFAULT false,
  truncated boolean NOT NULL DEFAULT false,
  data text,
  ended_at timestamptz
);
CREATE INDEX runs_effect ON rpc.runs (reader, effect_key);
CREATE INDEX runs_open ON rpc.runs (lease_until) WHERE ended_at IS NULL;
CREATE INDEX runs_kept ON rpc.runs (ended_at) WHERE data IS NOT NULL;
COMMENT ON TABLE rpc.runs IS 'Executions in the background: who runs them for how long yet, and what they gave.';
COMMENT ON COLUMN rpc.runs.reader IS 'Who may read what it gave: the caller, with the very claims that it had.';
COMMENT ON COLUMN rpc.runs.effect_key IS 'The idempotency key of its transaction, by which is known whether that was committed.';
COMMENT ON COLUMN rpc.runs.lease_until IS 'Until then its server has promised to be heard of again.';

-- Ends what a server left behind that is not heard of any more.
CREATE FUNCTION rpc.settle_runs() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lost uuid;
BEGIN
  FOR lost IN
    SELECT r.execution FROM rpc.runs r WHERE r.ended_at IS NULL AND r.lease_until < clock_timestamp() FOR UPDATE SKIP LOCKED
  LOOP
    PERFORM rpc.finish_run(lost, 'failed', 'the server that ran it went away', NULL, NULL, NULL);
  END LOOP;
  UPDATE rpc.runs SET data = NULL WHERE data IS NOT NULL AND ended_at < now() - interval '1 day';
END $$;

-- new; known: the same call was begun before under its key; other: another call was; full: too many run.
CREATE FUNCTION rpc.begin_run(id uuid, namespace text, name text, holder text, reader text, effect_key text,
  call_mac text, lease double precision, most integer, OUT outcome text, OUT execution uuid)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known record;
BEGIN
  PERFORM rpc.settle_runs();
  -- One at a time of a caller, so that two at once are not both the last that may run.
  PERFORM pg_advisory_xact_lock(hashtextextended('rpc ' || $4, 0));
  SELECT r.execution, r.call_mac INTO known FROM rpc.runs r JOIN rpc.executions e ON e.id = r.execution
    WHERE r.reader = $5 AND r.effect_key = $6 AND e.status IN ('running', 'completed')
      AND e.started_at > now() - interval '1 day' ORDER BY e.started_at DESC LIMIT 1;
  IF FOUND THEN
    outcome := CASE WHEN known.call_mac = $7 THEN 'known' ELSE 'other' END;
    execution := known.execution;
    RETURN;
  END IF;
  outcome := 'full';
  IF (SELECT count(*) FROM rpc.executions e WHERE e.holder = $4 AND e.status = 'running') < $9 THEN
    INSERT INTO rpc.executions (id, namespace, name, holder, status, started_at)
      VALUES ($1, $2, $3, $4, 'running', clock_timestamp());
    INSERT INTO rpc.runs (execution, reader, effect_key, call_mac, lease_until)
      VALUES ($1, $5, $6, $7, clock_timestamp() + make_interval(secs => $8));
    outcome := 'new';
    execution := $1;
  END IF;
END $$;

-- Keeps how a run ended. Whether a write was committed its server may not know; it stands in platform.idempotency,
-- where its own transaction has put its answer. What was completed stays so, whoever finds out something else later.
-- Of a caller's answers the last 50 are kept.
CREATE FUNCTION rpc.finish_run(id uuid, status text, error text, rows bigint, truncated boolean, data text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  whose text;
  answer json;
BEGIN
  SELECT i.answer::json INTO answer FROM rpc.runs r JOIN platform.idempotency i
    ON i.principal = r.reader AND i.key = r.effect_key AND i.arguments_mac = r.call_mac
    WHERE r.execution = $1 AND $2 <> 'completed' AND i.answer IS NOT NULL;
  IF FOUND THEN
    PERFORM rpc.finish_run($1, 'completed', NULL, (answer ->> 2)::bigint, (answer ->> 3)::boolean, answer ->> 1);
    RETURN;
  END IF;
  UPDATE rpc.executions e SET status = $2, error = $3, rows = $4,
      duration_ms = round(extract(epoch FROM clock_timestamp() - e.started_at)::numeric * 1000, 2)
    WHERE e.id = $1 AND e.status <> 'completed' RETURNING e.holder INTO whose;
  IF whose IS NULL THEN
    RETURN;
  END IF;
  UPDATE rpc.runs r SET ended_at = clock_timestamp(), truncated = coalesce($5, false), data = $6 WHERE r.execution = $1;
  UPDATE rpc.runs r SET data = NULL WHERE r.execution IN (
    SELECT k.execution FROM rpc.runs k JOIN rpc.executions e ON e.id = k.execution
    WHERE e.holder = whose AND k.data IS NOT NULL ORDER BY k.ended_at DESC OFFSET 50);
  PERFORM pg_notify('fluxbase_rpc', 'ended ' || $1);
END $$;
REVOKE EXECUTE ON FUNCTION rpc.settle_runs, rpc.begin_run, rpc.finish_run FROM PUBLIC;
