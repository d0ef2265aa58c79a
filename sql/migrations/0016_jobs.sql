-- Jobs: work that is done later, by whichever server is free, with the rights of who submitted it.
-- migrate:up
CREATE SCHEMA jobs;
GRANT USAGE ON SCHEMA jobs TO service_role;

CREATE TABLE jobs.definitions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL DEFAULT 'default' CHECK (namespace ~ '^[a-z][a-z0-9_-]{0,62}$'),
  name text NOT NULL CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_-]{0,62}$'),
  handler text NOT NULL CHECK (handler ~ '^[a-z]+:.'),
  description text,
  public boolean NOT NULL DEFAULT false,
  required_roles text[] NOT NULL DEFAULT '{}',
  required_scopes text[] NOT NULL DEFAULT '{}',
  queue text NOT NULL DEFAULT 'default' CHECK (queue ~ '^[a-z][a-z0-9_-]{0,62}$'),
  priority integer NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
  timeout_seconds double precision NOT NULL CHECK (timeout_seconds > 0 AND timeout_seconds <= 86400),
  max_attempts integer NOT NULL CHECK (max_attempts BETWEEN 1 AND 100),
  concurrency integer CHECK (concurrency > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (namespace, name)
);
COMMENT ON COLUMN jobs.definitions.handler IS 'What does such jobs: rpc:namespace.name, function:namespace.name or python:name.';
COMMENT ON COLUMN jobs.definitions.public IS 'Every key with the scope execute:jobs may submit it; else those with one of the roles and all of the scopes.';
COMMENT ON COLUMN jobs.definitions.concurrency IS 'How many of them run at once, on all servers together.';

CREATE TABLE jobs.schedules (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_-]{0,62}$'),
  definition uuid NOT NULL REFERENCES jobs.definitions ON DELETE CASCADE,
  cron text NOT NULL,
  time_zone text NOT NULL,
  missed text NOT NULL CHECK (missed IN ('skip', 'once')),
  payload json NOT NULL,
  priority integer NOT NULL CHECK (priority BETWEEN -100 AND 100),
  holder text NOT NULL,
  principal json NOT NULL,
  next_at timestamptz NOT NULL,
  last_at timestamptz,
  last_job uuid,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX schedules_next ON jobs.schedules (next_at);
COMMENT ON COLUMN jobs.schedules.missed IS 'What becomes of runs whose time went by while nothing ran: skip them all, or run once for all of them.';
COMMENT ON COLUMN jobs.schedules.next_at IS 'Whoever moves it on submits the job; it is moved from a time that was read, so one server does.';

CREATE TABLE jobs.jobs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  definition uuid REFERENCES jobs.definitions ON DELETE SET NULL,
  namespace text NOT NULL,
  name text NOT NULL,
  holder text NOT NULL,
  principal json NOT NULL,
  queue text NOT NULL,
  priority integer NOT NULL CHECK (priority BETWEEN -100 AND 100),
  payload json NOT NULL,
  status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  ready boolean NOT NULL DEFAULT false,
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL CHECK (max_attempts BETWEEN 1 AND 100),
  fence integer NOT NULL DEFAULT 0,
  worker uuid,
  lent_until timestamptz,
  dedupe_key text,
  idempotency_key text,
  call_digest text,
  schedule uuid REFERENCES jobs.schedules ON DELETE SET NULL,
  progress real CHECK (progress BETWEEN 0 AND 100),
  message text,
  error json,
  result json,
  created_at timestamptz NOT NULL DEFAULT now(),
  scheduled_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  completed_at timestamptz,
  CHECK ((status = 'running') = (lent_until IS NOT NULL))
) WITH (
  -- A job is written several times and seldom read: room for that in its page, and prompt cleaning.
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
  autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
-- What a worker asks for: the best, the oldest, and what has become due meanwhile.
CREATE INDEX jobs_best ON jobs.jobs (queue, priority DESC, scheduled_at, id) WHERE status = 'pending' AND ready;
CREATE INDEX jobs_oldest ON jobs.jobs (queue, scheduled_at, id) WHERE status = 'pending' AND ready;
CREATE INDEX jobs_due ON jobs.jobs (queue, scheduled_at) WHERE status = 'pending' AND NOT ready;
-- Not by lent_until: renewing it must change no index.
CREATE INDEX jobs_running ON jobs.jobs (holder, definition) WHERE status = 'running';
CREATE INDEX jobs_waiting ON jobs.jobs (holder) WHERE status = 'pending';
CREATE INDEX jobs_holder ON jobs.jobs (holder, created_at DESC, id DESC);
CREATE INDEX jobs_created ON jobs.jobs (created_at DESC, id DESC);
CREATE INDEX jobs_failed ON jobs.jobs (queue) WHERE status = 'failed';
CREATE INDEX jobs_ended ON jobs.jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_dedupe ON jobs.jobs (holder, definition, dedupe_key)
  WHERE dedupe_key IS NOT NULL AND status IN ('pending', 'running');
CREATE UNIQUE INDEX jobs_idempotency ON jobs.jobs (holder, idempotency_key) WHERE idempotency_key IS NOT NULL;
COMMENT ON COLUMN jobs.jobs.holder IS 'Whose job it is; nobody else is told of it.';
COMMENT ON COLUMN jobs.jobs.principal IS 'As whom it runs: the caller when it was submitted; a key is looked up again when it runs.';
COMMENT ON COLUMN jobs.jobs.ready IS 'It is due, and the indexes for workers have it.';
COMMENT ON COLUMN jobs.jobs.attempt IS 'Attempts that count against max_attempts; one that was handed back does not.';
COMMENT ON COLUMN jobs.jobs.fence IS 'Goes up whenever a worker takes it, so that nobody who had it before can end it.';
COMMENT ON COLUMN jobs.jobs.lent_until IS 'The worker has it until then, unless it renews this.';
COMMENT ON COLUMN jobs.jobs.call_digest IS 'Tells another call with the same idempotency key from the same call.';

CREATE TABLE jobs.logs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job uuid NOT NULL REFERENCES jobs.jobs ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempt integer NOT NULL,
  level text NOT NULL,
  line text NOT NULL
);
CREATE INDEX logs_job ON jobs.logs (job, id);
COMMENT ON TABLE jobs.logs IS 'What handlers tell of their jobs, line by line.';

-- A net below the tools, which ask for the holder themselves: whoever is let read the tables sees its own.
ALTER TABLE jobs.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs.logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs.definitions ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs.schedules ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON jobs.jobs FOR SELECT USING (current_user = 'key_' || holder);
CREATE POLICY own ON jobs.logs FOR SELECT USING (EXISTS (SELECT FROM jobs.jobs j WHERE j.id = job));
CREATE POLICY administration ON jobs.jobs FOR SELECT TO service_role USING (true);
CREATE POLICY administration ON jobs.logs FOR SELECT TO service_role USING (true);
CREATE POLICY administration ON jobs.definitions FOR SELECT TO service_role USING (true);
CREATE POLICY administration ON jobs.schedules FOR SELECT TO service_role USING (true);
GRANT SELECT ON jobs.definitions, jobs.jobs, jobs.logs, jobs.schedules TO service_role;

-- Tells servers that jobs are others than they were: `uri`, on the next line whose it is, and an empty line before the
-- next. As many in one notification as it may carry: each is a message to every server.
CREATE FUNCTION jobs.tell(ids uuid[], holders text[]) RETURNS boolean
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said text := '';
  one text;
BEGIN
  FOR i IN 1 .. cardinality(ids) LOOP
    one := 'fluxbase://jobs/' || ids[i] || E'\n' || holders[i];
    IF octet_length(said) + octet_length(one) > 7900 THEN
      PERFORM pg_notify('fluxbase_resources', said);
      said := '';
    END IF;
    said := said || CASE said WHEN '' THEN '' ELSE E'\n\n' END || one;
  END LOOP;
  PERFORM pg_notify('fluxbase_resources', said);
  RETURN true;
END $$;
CREATE FUNCTION jobs.tell(job uuid, holder text) RETURNS boolean
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT jobs.tell(ARRAY[job], ARRAY[holder]) $$;

-- Keeps a job; known: new, same (it was submitted by the very same call), other (by another call with this
-- idempotency key), twin (one with this dedupe key waits or runs), full.
CREATE FUNCTION jobs.submit(spec json, most integer, OUT id uuid, OUT known text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n jobs.jobs := json_populate_record(NULL::jobs.jobs, spec);
  k jobs.jobs;
BEGIN
  LOOP
    SELECT * INTO k FROM jobs.jobs j WHERE j.holder = n.holder AND j.idempotency_key = n.idempotency_key;
    IF FOUND THEN
      id := k.id;
      known := CASE WHEN k.call_digest = n.call_digest THEN 'same' ELSE 'other' END;
      RETURN;
    END IF;
    SELECT * INTO k FROM jobs.jobs j WHERE j.holder = n.holder AND j.definition = n.definition
      AND j.dedupe_key = n.dedupe_key AND j.status IN ('pending', 'running');
    IF FOUND THEN
      id := k.id;
      known := 'twin';
      RETURN;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM jobs.jobs j WHERE j.holder = n.holder AND j.status = 'pending' LIMIT most) x) >= most THEN
      known := 'full';
      RETURN;
    END IF;
    INSERT INTO jobs.jobs AS j (definition, namespace, name, holder, principal, queue, priority, payload, max_attempts,
      dedupe_key, idempotency_key, call_digest, scheduled_at, ready)
    VALUES (n.definition, n.namespace, n.name, n.holder, n.principal, n.queue, n.priority, n.payload, n.max_attempts,
      n.dedupe_key, n.idempotency_key, n.call_digest, coalesce(n.scheduled_at, now()),
      coalesce(n.scheduled_at, now()) <= clock_timestamp())
    ON CONFLICT DO NOTHING RETURNING j.id INTO id;
    IF FOUND THEN
      known := 'new';
      PERFORM pg_notify('fluxbase_jobs', n.queue);
      RETURN;
    END IF;
    -- Somebody else was faster, and is found the next time.
  END LOOP;
END $$;

-- Lends a worker some jobs of a queue: the best by priority, and in every fourth place the one that has waited longest,
-- so that nothing waits forever. Limits of keys and of definitions hold on all servers together: where there are any,
-- one worker at a time looks.
CREATE FUNCTION jobs.claim(from_queue text, most integer, by uuid, lent double precision, per_key integer, at timestamptz)
RETURNS SETOF jobs.jobs
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  oldest integer := floor(most / 4.0 + random());
  bounded boolean := per_key IS NOT NULL OR EXISTS (SELECT FROM jobs.definitions d WHERE d.concurrency IS NOT NULL);
  full_keys text[] := '{}';
  full_jobs uuid[] := '{}';
  ids uuid[];
BEGIN
  -- A job that was lent and is not, after Postgres fell, is lent again: that need not be waited for on the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE jobs.jobs j SET ready = true WHERE j.id IN (
    SELECT p.id FROM jobs.jobs p WHERE p.queue = from_queue AND p.status = 'pending' AND NOT p.ready AND p.scheduled_at <= at
    ORDER BY p.scheduled_at LIMIT 1000 FOR UPDATE SKIP LOCKED);
  IF bounded THEN
    PERFORM pg_advisory_xact_lock(1785684851, 1);
    SELECT coalesce(array_agg(x.holder), '{}') INTO full_keys FROM (
      SELECT j.holder FROM jobs.jobs j WHERE j.status = 'running' GROUP BY j.holder HAVING count(*) >= per_key) x;
    SELECT coalesce(array_agg(d.id), '{}') INTO full_jobs FROM jobs.definitions d WHERE d.concurrency <=
      (SELECT count(*) FROM jobs.jobs j WHERE j.status = 'running' AND j.definition = d.id);
  END IF;
  WITH best AS MATERIALIZED (
    SELECT j.id FROM jobs.jobs j WHERE j.queue = from_queue AND j.status = 'pending' AND j.ready
      AND j.holder <> ALL (full_keys) AND j.definition <> ALL (full_jobs)
    ORDER BY j.priority DESC, j.scheduled_at, j.id LIMIT most - oldest FOR UPDATE SKIP LOCKED
  ), longest AS MATERIALIZED (
    SELECT j.id FROM jobs.jobs j WHERE j.queue = from_queue AND j.status = 'pending' AND j.ready
      AND j.holder <> ALL (full_keys) AND j.definition <> ALL (full_jobs) AND j.id NOT IN (SELECT b.id FROM best b)
    ORDER BY j.scheduled_at, j.id LIMIT oldest FOR UPDATE SKIP LOCKED
  )
  SELECT array_agg(x.id) INTO ids FROM (SELECT b.id FROM best b UNION ALL SELECT l.id FROM longest l) x;
  IF bounded THEN
    SELECT array_agg(x.id) INTO ids FROM (
      SELECT j.id, d.concurrency,
        row_number() OVER (PARTITION BY j.holder ORDER BY j.priority DESC, j.scheduled_at, j.id)
          + (SELECT count(*) FROM jobs.jobs r WHERE r.status = 'running' AND r.holder = j.holder) AS of_key,
        row_number() OVER (PARTITION BY j.definition ORDER BY j.priority DESC, j.scheduled_at, j.id)
          + (SELECT count(*) FROM jobs.jobs r WHERE r.status = 'running' AND r.definition = j.definition) AS of_definition
      FROM jobs.jobs j JOIN jobs.definitions d ON d.id = j.definition WHERE j.id = ANY (ids)) x
    WHERE (per_key IS NULL OR x.of_key <= per_key) AND (x.concurrency IS NULL OR x.of_definition <= x.concurrency);
  END IF;
  RETURN QUERY UPDATE jobs.jobs j SET status = 'running', attempt = j.attempt + 1, fence = j.fence + 1, worker = by,
    lent_until = at + make_interval(secs => lent), started_at = at, progress = NULL, message = NULL
    WHERE j.id = ANY (ids) RETURNING j.*;
END $$;

-- Ends attempts as their workers found them: completed, failed, retry (after a pause, while attempts are left) or
-- back (as if it had never been taken). What another worker has by now, or was cancelled, stays as it is.
CREATE FUNCTION jobs.end_attempts(found json, at timestamptz) RETURNS SETOF jobs.jobs
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH told AS (
    SELECT * FROM json_to_recordset(found) AS r(id uuid, fence integer, outcome text, result json, error json,
      pause double precision)
  ), after AS (
    SELECT t.*, CASE WHEN t.outcome = 'back' AND j.definition IS NOT NULL THEN 'pending'
      WHEN t.outcome = 'back' THEN 'cancelled' -- it was withdrawn while it ran
      WHEN t.outcome = 'retry' AND j.definition IS NOT NULL AND j.attempt < j.max_attempts THEN 'pending'
      WHEN t.outcome = 'retry' THEN 'failed' ELSE t.outcome END AS status
    FROM told t JOIN jobs.jobs j ON j.id = t.id
  )
  UPDATE jobs.jobs j SET status = a.status, lent_until = NULL, worker = NULL,
    ready = a.outcome = 'back' AND a.status = 'pending', attempt = j.attempt - (a.outcome = 'back')::integer,
    scheduled_at = CASE WHEN a.outcome = 'retry' AND a.status = 'pending' THEN at + make_interval(secs => a.pause) ELSE j.scheduled_at END,
    error = a.error, result = a.result,
    progress = CASE a.status WHEN 'completed' THEN 100 WHEN 'pending' THEN NULL ELSE j.progress END,
    message = CASE a.status WHEN 'pending' THEN NULL ELSE j.message END,
    completed_at = CASE WHEN a.status <> 'pending' THEN at END
  FROM after a WHERE j.id = a.id AND j.fence = a.fence AND j.status = 'running' RETURNING j.*
$$;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs FROM PUBLIC;
