-- load_definitions(namespace, name) reads
-- Jobs that may be submitted, or one kind of them.
SELECT id::text, namespace, name, handler, description, public, required_roles, required_scopes, queue, priority,
  timeout_seconds, max_attempts, concurrency
FROM jobs.definitions WHERE ($1::text IS NULL OR namespace = $1) AND ($2::text IS NULL OR name = $2) ORDER BY namespace, name

-- publish_job(namespace, name, handler, description, public, roles, scopes, queue, priority, timeout, max_attempts, concurrency)
-- Let a kind of job be submitted, or what is to hold of it from now on; whether it was published before.
INSERT INTO jobs.definitions AS d (namespace, name, handler, description, public, required_roles, required_scopes, queue,
  priority, timeout_seconds, max_attempts, concurrency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (namespace, name) DO UPDATE SET handler = excluded.handler, description = excluded.description,
  public = excluded.public, required_roles = excluded.required_roles, required_scopes = excluded.required_scopes,
  queue = excluded.queue, priority = excluded.priority, timeout_seconds = excluded.timeout_seconds,
  max_attempts = excluded.max_attempts, concurrency = excluded.concurrency, updated_at = now()
RETURNING (xmax <> 0) AS known

-- withdraw_job(namespace, name)
-- Let a kind of job be submitted no longer: those that wait are cancelled, those that run may finish.
WITH gone AS (
  DELETE FROM jobs.definitions WHERE namespace = $1 AND name = $2 RETURNING id
), cancelled AS (
  UPDATE jobs.jobs j SET status = 'cancelled', ready = false, completed_at = clock_timestamp(), definition = NULL,
    error = json_build_object('code', 'FLX209', 'message', 'the job was withdrawn before it began')
  FROM gone g WHERE j.definition = g.id AND j.status = 'pending' RETURNING j.id, j.holder
), told AS (
  SELECT count(jobs.tell(c.id, c.holder)) AS many FROM cancelled c
)
SELECT told.many FROM gone, told

-- submit_job(spec, most)
-- Keep a job, unless it is there already or its holder has as many waiting as it may have.
SELECT id::text, known FROM jobs.submit($1::text::json, $2)

-- find_job(id, holder, definitions) reads
-- One job of somebody, or of anybody when no holder is named; of definitions that the caller may use, where they are named.
SELECT id::text, namespace, name, status, queue, priority, attempt, max_attempts, created_at::text, scheduled_at::text,
  started_at::text, completed_at::text, error::text, result::text, progress, message, definition::text
FROM jobs.jobs WHERE id = $1::text::uuid AND ($2::text IS NULL OR holder = $2)
  AND ($3::text[] IS NULL OR definition IS NULL OR definition::text = ANY ($3))

-- list_jobs(holder, definitions, status, namespace, name, before_at, before_id, most) reads
-- Jobs of somebody, or of anybody when no holder is named, the newest first, behind one that was seen.
SELECT id::text, namespace, name, status, queue, priority, attempt, max_attempts, created_at::text, scheduled_at::text,
  started_at::text, completed_at::text, error::text, NULL::text AS result, progress, message, definition::text
FROM jobs.jobs WHERE ($1::text IS NULL OR holder = $1) AND ($2::text[] IS NULL OR definition IS NULL OR definition::text = ANY ($2))
  AND ($3::text IS NULL OR status = $3) AND ($4::text IS NULL OR namespace = $4) AND ($5::text IS NULL OR name = $5)
  AND ($6::text IS NULL OR (created_at, id) < ($6::text::timestamptz, $7::text::uuid))
ORDER BY created_at DESC, id DESC LIMIT $8

-- cancel_job(id)
-- End a job that waits or runs; whoever runs it is told.
WITH before AS (
  SELECT id, status, holder FROM jobs.jobs WHERE id = $1::text::uuid AND status IN ('pending', 'running') FOR UPDATE
), ended AS (
  UPDATE jobs.jobs j SET status = 'cancelled', ready = false, lent_until = NULL, worker = NULL, completed_at = clock_timestamp()
  FROM before b WHERE j.id = b.id RETURNING j.id
)
SELECT b.status, jobs.tell(b.id, b.holder), CASE b.status WHEN 'running' THEN pg_notify('fluxbase_jobs', '!cancel ' || b.id) END
FROM ended JOIN before b USING (id)

-- retry_job(id, definition)
-- Let a job that failed or was cancelled run again, with all its attempts.
UPDATE jobs.jobs j SET status = 'pending', ready = true, attempt = 0, definition = d.id, queue = d.queue, error = NULL,
  result = NULL, progress = NULL, message = NULL, completed_at = NULL, scheduled_at = clock_timestamp()
FROM jobs.definitions d WHERE j.id = $1::text::uuid AND d.id = $2::text::uuid AND j.status IN ('failed', 'cancelled')
RETURNING j.status, jobs.tell(j.id, j.holder), pg_notify('fluxbase_jobs', j.queue)

-- claim_jobs(queue, most, worker, seconds, per_key, at)
-- Lend a worker jobs that are due.
WITH claimed AS MATERIALIZED (
  SELECT * FROM jobs.claim($1, $2, $3::text::uuid, $4, $5, coalesce($6::timestamptz, clock_timestamp()))
), told AS MATERIALIZED (
  SELECT jobs.tell(array_agg(id), array_agg(holder)) FROM claimed
)
SELECT j.id::text, j.namespace, j.name, j.queue, j.principal::text, j.payload::text, j.attempt, j.fence, d.handler,
  coalesce(d.timeout_seconds, 0), j.holder
FROM claimed j CROSS JOIN told LEFT JOIN jobs.definitions d ON d.id = j.definition

-- next_due(queue, at) reads
-- In how many seconds the next job of a queue is due that is not due yet.
SELECT extract(epoch FROM min(scheduled_at) - coalesce($2::timestamptz, clock_timestamp()))::float8 AS seconds
FROM jobs.jobs WHERE queue = $1 AND status = 'pending' AND NOT ready

-- renew_jobs(ids, fences, seconds, at)
-- Keep jobs for some more seconds; those that are still the worker's.
UPDATE jobs.jobs j SET lent_until = coalesce($4::timestamptz, clock_timestamp()) + make_interval(secs => $3::float8)
FROM unnest($1::text[], $2::integer[]) AS h(id, fence)
WHERE j.id = h.id::uuid AND j.fence = h.fence AND j.status = 'running' RETURNING j.id::text

-- end_attempts(found, at)
-- Write down how attempts ended.
WITH ended AS MATERIALIZED (
  SELECT * FROM jobs.end_attempts($1::text::json, coalesce($2::timestamptz, clock_timestamp()))
), told AS MATERIALIZED (
  SELECT jobs.tell(array_agg(id), array_agg(holder)) FROM ended
)
SELECT e.id::text, e.status, e.queue, CASE WHEN e.status = 'pending' THEN pg_notify('fluxbase_jobs', e.queue) END
FROM ended e CROSS JOIN told

-- lapse_jobs(at)
-- Take jobs back from workers that are gone.
WITH gone AS (
  SELECT id FROM jobs.jobs WHERE status = 'running' AND lent_until < coalesce($1::timestamptz, clock_timestamp())
  ORDER BY lent_until LIMIT 1000 FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE jobs.jobs j SET lent_until = NULL, worker = NULL,
    status = CASE WHEN j.attempt < j.max_attempts AND j.definition IS NOT NULL THEN 'pending' ELSE 'failed' END,
    ready = j.attempt < j.max_attempts AND j.definition IS NOT NULL,
    completed_at = CASE WHEN j.attempt < j.max_attempts AND j.definition IS NOT NULL THEN NULL ELSE clock_timestamp() END,
    error = json_build_object('code', 'FLX504', 'message', 'the worker that ran it was lost')
  FROM gone g WHERE j.id = g.id RETURNING j.id, j.holder, j.queue, j.status
)
SELECT id::text, status, queue, jobs.tell(id, holder), CASE WHEN status = 'pending' THEN pg_notify('fluxbase_jobs', queue) END FROM taken

-- tell_progress(id, fence, progress, message)
-- Keep how far a job is.
UPDATE jobs.jobs SET progress = coalesce($3::float8::real, progress), message = coalesce($4::text, message)
WHERE id = $1::text::uuid AND fence = $2 AND status = 'running' RETURNING jobs.tell(id, holder)

-- add_job_logs(job, fence, attempt, lines)
-- Keep lines that a handler told, as a JSON array of objects with at, level and line.
INSERT INTO jobs.logs (job, attempt, at, level, line)
SELECT j.id, $3::integer, r.at, r.level, r.line FROM jobs.jobs j,
  json_to_recordset($4::text::json) AS r(at timestamptz, level text, line text)
WHERE j.id = $1::text::uuid AND j.fence = $2

-- job_logs(job, most) reads
-- The last lines of a job, in their order.
SELECT at::text, attempt, level, line FROM (
  SELECT * FROM jobs.logs WHERE job = $1::text::uuid ORDER BY id DESC LIMIT $2) x ORDER BY id

-- count_jobs() reads
-- For each queue how many jobs are due, for how many seconds the oldest has been, how many run and how many failed.
SELECT queue, sum(waiting)::bigint AS waiting, sum(running)::bigint AS running, sum(failed)::bigint AS failed, max(seconds) AS seconds
FROM (
  SELECT queue, count(*) AS waiting, 0 AS running, 0 AS failed, greatest(extract(epoch FROM now() - min(scheduled_at)), 0)::float8 AS seconds
  FROM jobs.jobs WHERE status = 'pending' AND ready GROUP BY queue
  UNION ALL SELECT queue, 0, count(*), 0, 0 FROM jobs.jobs WHERE status = 'running' GROUP BY queue
  UNION ALL SELECT queue, 0, 0, count(*), 0 FROM jobs.jobs WHERE status = 'failed' GROUP BY queue) x
GROUP BY queue

-- prune_jobs(seconds)
-- Delete jobs that ended longer ago, some at a time.
DELETE FROM jobs.jobs WHERE id IN (
  SELECT id FROM jobs.jobs WHERE completed_at < now() - make_interval(secs => $1::float8) LIMIT 5000) RETURNING id::text

-- live_grant(user_id, client_id) reads
-- What a user still lets a client do for it, and who the user is now.
SELECT g.scopes, u.scopes AS user_scopes, u.email, u.role::text,
  coalesce((SELECT rolconfig FROM pg_roles WHERE rolname = u.role), '{}') AS settings
FROM auth.oauth_grants g JOIN auth.users u ON u.id = g.user_id
WHERE u.id = $1::text::uuid AND g.client_id = $2 AND g.revoked_at IS NULL AND u.disabled_at IS NULL
ORDER BY g.created_at DESC LIMIT 1

-- put_schedule(name, definition, cron, time_zone, missed, payload, priority, holder, principal, next_at)
-- Make a schedule, or what is to hold of it from now on.
INSERT INTO jobs.schedules (name, definition, cron, time_zone, missed, payload, priority, holder, principal, next_at)
VALUES ($1, $2::text::uuid, $3, $4, $5, $6::text::json, $7, $8, $9::text::json, $10::text::timestamptz)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, cron = excluded.cron, time_zone = excluded.time_zone,
  missed = excluded.missed, payload = excluded.payload, priority = excluded.priority, holder = excluded.holder,
  principal = excluded.principal, next_at = excluded.next_at
RETURNING (xmax <> 0) AS known, next_at::text, pg_notify('fluxbase_jobs', '!schedules')

-- load_schedules() reads
-- Every schedule, with the job that it submitted last.
SELECT s.name, d.namespace, d.name AS job_name, s.cron, s.time_zone, s.missed, s.priority, s.next_at::text,
  s.last_at::text, s.last_job::text, j.status AS last_status
FROM jobs.schedules s JOIN jobs.definitions d ON d.id = s.definition LEFT JOIN jobs.jobs j ON j.id = s.last_job ORDER BY s.name

-- delete_schedule(name)
-- End a schedule; the jobs that it submitted stay.
DELETE FROM jobs.schedules WHERE name = $1 RETURNING name

-- due_schedules(at) reads
-- Schedules whose time has come, and the time it is.
SELECT id::text, cron, time_zone, missed, next_at, coalesce($1::timestamptz, clock_timestamp()) AS now
FROM jobs.schedules WHERE next_at <= coalesce($1::timestamptz, clock_timestamp()) ORDER BY next_at LIMIT 100

-- next_schedule(at) reads
-- In how many seconds the next schedule is due.
SELECT extract(epoch FROM min(next_at) - coalesce($1::timestamptz, clock_timestamp()))::float8 AS seconds FROM jobs.schedules

-- fire_schedule(id, due, next_at, submits)
-- Move a schedule on from the time that was read, and submit its job; nothing when another server was faster.
WITH fresh AS MATERIALIZED (
  SELECT gen_random_uuid() AS id
), moved AS (
  UPDATE jobs.schedules s SET next_at = $3::timestamptz,
    last_at = CASE WHEN $4::boolean THEN $2::timestamptz ELSE s.last_at END,
    last_job = CASE WHEN $4::boolean THEN f.id ELSE s.last_job END
  FROM fresh f WHERE s.id = $1::text::uuid AND s.next_at = $2::timestamptz RETURNING s.*
), submitted AS (
  INSERT INTO jobs.jobs (id, definition, namespace, name, holder, principal, queue, priority, payload, max_attempts, schedule,
    idempotency_key, call_digest, ready)
  SELECT m.last_job, d.id, d.namespace, d.name, m.holder, m.principal, d.queue, m.priority, m.payload, d.max_attempts, m.id,
    'schedule/' || m.id || '/' || extract(epoch FROM $2::timestamptz), '', true
  FROM moved m JOIN jobs.definitions d ON d.id = m.definition WHERE $4::boolean RETURNING id, queue
)
SELECT id::text, pg_notify('fluxbase_jobs', queue) FROM submitted

-- read_clock() reads
-- What time it is for Postgres.
SELECT clock_timestamp() AS now
