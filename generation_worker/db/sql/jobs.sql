-- Jobs: what operators, the API and the dashboard read of them, and the changes that people make.

-- name: job
-- One job with all its columns, and with the job that replaced it, if it was replayed.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.payload, j.result, j.cost, j.debited, j.priority, j.position,
       j.attempt, j.max_attempts, j.crashes, j.waits, j.run_at, j.deadline_at, j.locked_by, j.locked_at,
       j.lease_expires_at, j.cancel_requested_at, j.batch_id, j.batch_index, j.idempotency_key, j.retry_of,
       (SELECT r.id FROM generation.generation_job r WHERE r.retry_of = j.id) AS replayed_as,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.traceparent,
       extract(epoch FROM statement_timestamp() - j.locked_at)::float8 AS held_seconds,
       j.status IN ('pending', 'scheduled', 'rate_limited')
         AND EXISTS (SELECT FROM generation.generation_pauses(j.kind, j.provider, j.user_id)) AS paused
  FROM generation.generation_job j WHERE j.id = %(id)s

-- name: find_job
-- One job with the columns that the API shows. No row if it belongs to another user than the given one.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
       j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at,
       j.payload, j.result, (SELECT r.id FROM generation.generation_job r WHERE r.retry_of = j.id) AS replayed_as,
       extract(epoch FROM statement_timestamp() - j.locked_at)::float8 AS held_seconds,
       j.status IN ('pending', 'scheduled', 'rate_limited')
         AND EXISTS (SELECT FROM generation.generation_pauses(j.kind, j.provider, j.user_id)) AS paused
  FROM generation.generation_job j WHERE j.id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)

-- name: find_jobs
-- The jobs whose ids lie between two ids: those with the same beginning.
SELECT id FROM generation.generation_job WHERE id BETWEEN %(low)s AND %(high)s ORDER BY id LIMIT %(limit)s

-- name: named_jobs
-- Jobs by their ids, the latest first. Each is looked up by itself (LIMIT 1).
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
       j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM unnest(%(ids)s::uuid[]) AS requested (id)
  CROSS JOIN LATERAL (SELECT g.* FROM generation.generation_job g WHERE g.id = requested.id LIMIT 1) AS j
 ORDER BY j.id DESC

-- name: batch_jobs
-- The jobs of a batch in their order; of one user, if a user is given.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
       j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM generation.generation_job j WHERE j.batch_id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
 ORDER BY j.batch_index, j.id LIMIT %(limit)s

-- name: list_jobs
-- As list_jobs_of_user, for the jobs of all users: in the order of their ids, which begin with the time.
WITH scanned AS MATERIALIZED (
  SELECT id, created_at, status, kind FROM generation.generation_job
   WHERE id < %(before_id)s
   ORDER BY id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM scanned) AS scanned, created_at AS reached_at, id AS reached
    FROM (SELECT created_at, id FROM scanned ORDER BY id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM scanned
   WHERE (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s::text[])) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   ORDER BY id DESC LIMIT %(limit)s
)
SELECT reach.scanned, reach.reached_at, reach.reached,
       j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
       j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM reach LEFT JOIN (chosen JOIN generation.generation_job j USING (id)) ON true
 ORDER BY j.id DESC

-- name: list_jobs_of_user
-- A page of one user's jobs, the latest first, from a cursor on; with the number of rows that were scanned and the last of
-- them. At most %(cap)s rows are scanned, however few of them match. Running jobs and all others have one index each (see the
-- baseline migration): the latest of both are merged.
WITH scanned AS MATERIALIZED (
  SELECT * FROM (
    (SELECT id, created_at, status, kind FROM generation.generation_job
      WHERE user_id = %(user)s AND (created_at, id) < (%(before_time)s, %(before_id)s) AND status <> 'processing'
      ORDER BY created_at DESC, id DESC LIMIT %(cap)s)
    UNION ALL
    (SELECT id, created_at, status, kind FROM generation.generation_job
      WHERE user_id = %(user)s AND (created_at, id) < (%(before_time)s, %(before_id)s) AND status = 'processing'
      ORDER BY created_at DESC, id DESC LIMIT %(cap)s)) AS both_kinds
   ORDER BY created_at DESC, id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM scanned) AS scanned, created_at AS reached_at, id AS reached
    FROM (SELECT created_at, id FROM scanned ORDER BY created_at, id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM scanned
   WHERE (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s::text[])) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   ORDER BY created_at DESC, id DESC LIMIT %(limit)s
)
SELECT reach.scanned, reach.reached_at, reach.reached,
       j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
       j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM reach LEFT JOIN (chosen JOIN generation.generation_job j USING (id)) ON true
 ORDER BY j.created_at DESC, j.id DESC

-- name: jobs_of_user
-- One user's jobs in each state. Those that wait are counted up to a cap, each state along the index of what waits, whatever
-- statistics say of it; what ended is counted within the user's latest jobs that do not run, as many as the cap. exact: there
-- are no more.
WITH latest AS MATERIALIZED (
  SELECT status FROM generation.generation_job WHERE user_id = %(user)s AND status <> 'processing'
   ORDER BY created_at DESC, id DESC LIMIT %(cap)s
), pending AS MATERIALIZED (
  SELECT FROM generation.generation_job WHERE user_id = %(user)s AND status = 'pending' ORDER BY position LIMIT %(cap)s
), scheduled AS MATERIALIZED (
  SELECT FROM generation.generation_job WHERE user_id = %(user)s AND status = 'scheduled' ORDER BY position LIMIT %(cap)s
), rate_limited AS MATERIALIZED (
  SELECT FROM generation.generation_job WHERE user_id = %(user)s AND status = 'rate_limited' ORDER BY position LIMIT %(cap)s
)
SELECT 'pending' AS status, count(*) AS jobs, count(*) < %(cap)s AS exact FROM pending
UNION ALL SELECT 'scheduled', count(*), count(*) < %(cap)s FROM scheduled
UNION ALL SELECT 'rate_limited', count(*), count(*) < %(cap)s FROM rate_limited
UNION ALL SELECT 'processing', count(*), true FROM generation.generation_job WHERE status = 'processing' AND user_id = %(user)s
UNION ALL
SELECT s.status, count(l.status), (SELECT count(*) FROM latest) < %(cap)s
  FROM unnest(ARRAY['completed', 'failed', 'cancelled']) AS s (status) LEFT JOIN latest l ON l.status = s.status
 GROUP BY s.status

-- name: count_jobs
-- How many jobs there are in each state. Never reads more than a cap of rows for a part, so that a million jobs cost as
-- little as ten thousand: what is beyond the cap is estimated from the planner's statistics. Each part is read in the
-- order of an index that has only its rows.
WITH scanned AS MATERIALIZED (
  (SELECT 'pending' AS part, status FROM generation.generation_job
    WHERE status = 'pending' ORDER BY provider, parked, priority, position, id LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'due', status FROM generation.generation_job
    WHERE status IN ('scheduled', 'rate_limited') ORDER BY run_at LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'processing', status FROM generation.generation_job WHERE status = 'processing' ORDER BY id LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'final', status FROM generation.generation_job
    WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT %(cap)s + 1)
), whole AS (
  SELECT part, count(*) <= %(cap)s AS whole FROM scanned GROUP BY part
), share AS (
  SELECT common.status, c.reltuples * common.freq AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = 'status',
         unnest(s.most_common_vals::text::text[], s.most_common_freqs) AS common (status, freq)
   WHERE c.oid = 'generation.generation_job'::regclass
)
SELECT state.status,
       CASE WHEN coalesce(whole, true) THEN count(scanned)
            ELSE greatest(count(scanned), round(coalesce(share.rows, 0))::bigint) END AS jobs,
       coalesce(whole, true) AS exact
  FROM (VALUES (1, 'pending', 'pending'), (2, 'scheduled', 'due'), (3, 'rate_limited', 'due'),
               (4, 'processing', 'processing'), (5, 'completed', 'final'), (6, 'failed', 'final'),
               (7, 'cancelled', 'final')) AS state (number, status, part)
  LEFT JOIN whole USING (part) LEFT JOIN share USING (status)
  LEFT JOIN scanned ON scanned.part = state.part AND scanned.status = state.status
 GROUP BY state.number, state.status, whole, share.rows
 ORDER BY state.number

-- name: processing_jobs
-- What is being worked on, the longest first, and how much of each lease is left (below zero: it has expired).
SELECT id, kind, user_id, provider, attempt, max_attempts, locked_by AS worker,
       extract(epoch FROM statement_timestamp() - locked_at)::float8 AS seconds,
       extract(epoch FROM lease_expires_at - statement_timestamp())::float8 AS lease_seconds,
       cancel_requested_at IS NOT NULL AS cancel_requested
  FROM generation.generation_job WHERE status = 'processing'
 ORDER BY locked_at, id LIMIT %(limit)s

-- name: dead_letters
-- Jobs that failed, the latest first, from a cursor on; with the job that replaced each, if it was replayed; with the number
-- of rows that were scanned and the last of them. At most %(cap)s rows are scanned, however few of them match.
WITH scanned AS MATERIALIZED (
  SELECT id, finished_at, error_code, user_id FROM generation.generation_job
   WHERE status = 'failed' AND finished_at IS NOT NULL
     AND (finished_at, id) < (%(before_time)s::timestamptz, %(before_id)s::uuid)
   ORDER BY finished_at DESC, id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM scanned) AS scanned, finished_at AS reached_at, id AS reached
    FROM (SELECT finished_at, id FROM scanned ORDER BY finished_at, id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM scanned
   WHERE (%(code)s::text IS NULL OR error_code = %(code)s) AND (%(user)s::text IS NULL OR user_id = %(user)s)
   ORDER BY finished_at DESC, id DESC LIMIT %(limit)s
)
SELECT reach.scanned, reach.reached_at, reach.reached,
       j.id, j.kind, j.user_id, j.provider, j.cost, j.debited, j.attempt, j.error_code, j.error_message, j.created_at,
       j.finished_at, r.id AS replayed_as
  FROM reach LEFT JOIN (chosen JOIN generation.generation_job j USING (id) LEFT JOIN generation.generation_job r ON r.retry_of = j.id) ON true
 ORDER BY j.finished_at DESC, j.id DESC

-- name: failures_by_code
-- Why jobs failed lately: each code with its latest example. Looks at a bounded number of final jobs, the latest ones.
WITH latest AS MATERIALIZED (
  SELECT id, status, error_code, error_message, finished_at FROM generation.generation_job
   WHERE finished_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY finished_at DESC LIMIT %(cap)s
)
SELECT error_code AS code, count(*) AS jobs, max(finished_at) AS last_at,
       (array_agg(id ORDER BY finished_at DESC))[1] AS example,
       (array_agg(error_message ORDER BY finished_at DESC))[1] AS message
  FROM latest WHERE status = 'failed'
 GROUP BY error_code ORDER BY count(*) DESC, error_code

-- name: throughput
-- What ended within the last hour and the last day, and what it moved: completed jobs stay charged, the others are refunded
-- if they had been debited. Looks at a bounded number of jobs, the latest ones; if there were
-- more in a window, their pace stands for the rest of it.
WITH latest AS MATERIALIZED (
  SELECT finished_at, status, cost, debited AND status <> 'completed' AS refunded,
         extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation.generation_job
   WHERE finished_at > statement_timestamp() - interval '1 day' ORDER BY finished_at DESC LIMIT %(cap)s
), reach AS (
  SELECT CASE WHEN count(*) < %(cap)s THEN 'infinity'::float8
              ELSE extract(epoch FROM statement_timestamp() - min(finished_at))::float8 END AS seconds FROM latest
), ended AS (
  SELECT span.number, span.name, span.seconds, reach.seconds >= span.seconds AS exact,
         greatest(span.seconds / reach.seconds, 1) AS factor,
         count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed,
         count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
         avg(latest.seconds) FILTER (WHERE status = 'completed') AS mean_seconds,
         coalesce(sum(cost) FILTER (WHERE status = 'completed'), 0) AS charged,
         count(*) FILTER (WHERE refunded) AS refunds, coalesce(sum(cost) FILTER (WHERE refunded), 0) AS credits_refunded
    FROM (VALUES (1, 'hour', 3600::float8), (2, 'day', 86400)) AS span (number, name, seconds) CROSS JOIN reach
    LEFT JOIN latest ON latest.finished_at > statement_timestamp() - make_interval(secs => span.seconds)
   GROUP BY span.number, span.name, span.seconds, reach.seconds
)
SELECT name AS span, round(completed * factor)::bigint AS completed, round(failed * factor)::bigint AS failed,
       round(cancelled * factor)::bigint AS cancelled,
       round((completed * factor / seconds * 60)::numeric, 2)::float8 AS per_minute, mean_seconds,
       round((charged * factor)::numeric)::bigint AS credits_charged, round((refunds * factor)::numeric)::bigint AS refunds,
       round((credits_refunded * factor)::numeric)::bigint AS credits_refunded, exact
  FROM ended ORDER BY number

-- name: history
-- What ended in each of the latest spans of %(seconds)s seconds, the oldest first: the present one is the last, and not over.
-- Looks at a bounded number of jobs, the latest ones; spans that lie before them, or in part, are not exact.
WITH latest AS MATERIALIZED (
  SELECT finished_at, status, extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation.generation_job
   WHERE finished_at > statement_timestamp() - make_interval(secs => %(seconds)s::float8 * %(spans)s::int)
   ORDER BY finished_at DESC LIMIT %(cap)s
), reach AS (
  SELECT CASE WHEN count(*) < %(cap)s THEN '-infinity'::timestamptz ELSE min(finished_at) END AS since FROM latest
), span AS (
  SELECT date_bin(make_interval(secs => %(seconds)s), statement_timestamp(), 'epoch')
         - make_interval(secs => %(seconds)s::float8 * n) AS since FROM generate_series(0, %(spans)s::int - 1) AS n
)
SELECT span.since, count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       avg(seconds) FILTER (WHERE status = 'completed') AS mean_seconds, span.since >= reach.since AS exact
  FROM span CROSS JOIN reach
  LEFT JOIN latest ON date_bin(make_interval(secs => %(seconds)s), latest.finished_at, 'epoch') = span.since
 GROUP BY span.since, reach.since ORDER BY span.since

-- name: job_attempts
-- How the attempts of a job ended, in their order.
SELECT attempt, worker, started_at, ended_at, extract(epoch FROM ended_at - started_at)::float8 AS seconds, outcome,
       error_code, error_message
  FROM generation.job_attempt WHERE job_id = %(id)s ORDER BY started_at, ended_at

-- name: job_calls
-- The provider calls of a job. A call without an end is still running, or its answer was lost.
SELECT number, provider, key_label, model, provider_ref, started_at, finished_at, milliseconds, spent, usage, error_code
  FROM generation.provider_call WHERE job_id = %(id)s ORDER BY number

-- name: job_changes
-- The changes that people and keys have made to a job, in their order.
SELECT id, at, actor, action, target, reason, before, after FROM generation.audit_event
 WHERE target = 'job:' || %(id)s::uuid ORDER BY id LIMIT %(limit)s

-- name: job_entries
-- The credit entries of a job.
SELECT user_id, seq, kind, amount, balance_after, reason, created_at
  FROM generation.credit_entry WHERE job_id = %(id)s AND job_id IS NOT NULL ORDER BY seq

-- name: job_previews
-- The data of jobs that lists show beside their columns: the beginnings of their prompts, their workers, the number of images,
-- and the queue positions of those near the head of their lanes. Each job is looked up by itself (LIMIT 1): for a join of many,
-- the planner may scan the whole table.
WITH preview AS MATERIALIZED (
  SELECT j.id, j.provider, j.status, j.parked, j.locked_by AS worker, left(j.payload ->> 'prompt', 500) AS prompt,
         CASE WHEN pg_column_size(j.payload) < 8000 THEN j.payload -> 'inputs' END AS inputs,
         CASE j.kind WHEN 'image_processing'
              THEN jsonb_path_query_array(j.payload, '$.operations[*].type') END AS operations,
         CASE jsonb_typeof(j.result -> 'images') WHEN 'array'
              THEN jsonb_array_length(j.result -> 'images') ELSE 0 END AS images
    FROM unnest(%(ids)s::uuid[]) AS requested (id)
    CROSS JOIN LATERAL (SELECT g.* FROM generation.generation_job g WHERE g.id = requested.id LIMIT 1) AS j
), line AS MATERIALIZED (
  SELECT head.id, head.queue_position FROM (SELECT DISTINCT provider FROM preview WHERE status = 'pending') AS lane
    CROSS JOIN LATERAL (
      SELECT h.id, row_number() OVER (ORDER BY h.priority, h.position, h.id) - 1 AS queue_position FROM (
        SELECT j.id, j.priority, j.position FROM generation.generation_job j
         WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
         ORDER BY j.priority, j.position, j.id LIMIT %(head)s) AS h) AS head
)
SELECT preview.id, preview.parked, preview.worker, preview.prompt, preview.inputs, preview.operations, preview.images,
       line.queue_position
  FROM preview LEFT JOIN line USING (id)

-- name: job_images
-- The images of a job's result, without the rest of its row.
SELECT result -> 'images' AS images FROM generation.generation_job WHERE id = %(id)s

-- name: job_pauses
-- The pauses that keep a job waiting, or would if it waited.
SELECT name, value ->> 'reason' AS reason, updated_at AS since, updated_by AS by
  FROM generation.generation_job j, generation.generation_pauses(j.kind, j.provider, j.user_id) WHERE j.id = %(id)s

-- name: queue_position
-- The number of jobs before a pending one in its lane, up to a cap. No row if it is not pending.
SELECT (SELECT count(*) FROM (
          SELECT FROM generation.generation_job b
           WHERE b.status = 'pending' AND b.provider = j.provider AND NOT b.parked
             AND (b.priority, b.position, b.id) < (j.priority, j.position, j.id)
           LIMIT %(cap)s) AS before) AS position
  FROM generation.generation_job j WHERE j.id = %(id)s AND j.status = 'pending'

-- name: oldest_waiting
-- For each lane: which job has been due for longest among the first in line, and how many living workers serve it. A
-- job far down the line waits for its own user's other jobs, so only the front is read.
-- Parked jobs, whose user or kind is paused, are not counted.
WITH RECURSIVE lane (provider) AS (
  (SELECT provider FROM generation.generation_job WHERE status = 'pending' ORDER BY provider LIMIT 1)
  UNION ALL
  SELECT (SELECT j.provider FROM generation.generation_job j
           WHERE j.status = 'pending' AND j.provider > lane.provider ORDER BY j.provider LIMIT 1)
    FROM lane WHERE lane.provider IS NOT NULL
)
SELECT lane.provider, oldest.id, oldest.user_id, oldest.kind, oldest.run_at AS since,
       greatest(extract(epoch FROM statement_timestamp() - oldest.run_at), 0)::float8 AS seconds,
       (SELECT count(*) FROM generation.worker_process w
         WHERE (lane.provider = 'none' OR lane.provider = ANY (w.providers))
           AND w.seen_at > statement_timestamp() - interval '2 minutes') AS workers
  FROM lane CROSS JOIN LATERAL (
    SELECT * FROM (
      SELECT id, user_id, kind, run_at FROM generation.generation_job
       WHERE status = 'pending' AND provider = lane.provider AND NOT parked
       ORDER BY priority, position, id LIMIT %(cap)s) AS front
     ORDER BY run_at, id LIMIT 1) AS oldest
 ORDER BY seconds DESC

-- name: next_due
-- The job that waits for its time and is due next.
SELECT id, status, run_at, extract(epoch FROM run_at - statement_timestamp())::float8 AS seconds
  FROM generation.generation_job WHERE status IN ('scheduled', 'rate_limited')
 ORDER BY run_at LIMIT 1

-- name: lane_pace
-- The pace of a lane, for an estimate: how long its jobs took within the last hour, how many slots its living workers have and
-- how many of them are taken, and the limits of its keys' gates. A lane without a limited key has no gate.
WITH latest AS MATERIALIZED (
  SELECT provider, status, extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation.generation_job
   WHERE finished_at > statement_timestamp() - interval '1 hour' ORDER BY finished_at DESC LIMIT %(cap)s
), living AS MATERIALIZED (
  SELECT concurrency, providers, keys FROM generation.worker_process
   WHERE seen_at > statement_timestamp() - interval '2 minutes'
), gate AS MATERIALIZED (
  SELECT calls_per_minute,
         greatest(extract(epoch FROM CASE breaker WHEN 'open' THEN open_until ELSE closed_until END
                                     - statement_timestamp()), 0)::float8 AS shut
    FROM generation.provider_gate
   WHERE provider = %(provider)s AND EXISTS (SELECT FROM living WHERE key_label = ANY (living.keys))
)
SELECT (SELECT avg(seconds) FROM latest WHERE provider = %(provider)s AND status = 'completed') AS mean_seconds,
       (SELECT coalesce(sum(concurrency), 0)::integer FROM living
         WHERE %(provider)s = 'none' OR %(provider)s = ANY (providers)) AS slots,
       (SELECT count(*)::integer FROM (SELECT FROM generation.generation_job WHERE status = 'processing' LIMIT %(cap)s) AS taken)
         AS taken,
       (SELECT sum(calls_per_minute)::integer FROM gate) AS per_minute,
       (SELECT coalesce(min(shut), 0) FROM gate) AS shut_seconds

-- name: count_waiting
-- How many jobs of a user wait, up to a cap.
SELECT count(*) AS waiting FROM (
  SELECT FROM generation.generation_job
   WHERE user_id = %(user)s AND status IN ('pending', 'scheduled', 'rate_limited') LIMIT %(cap)s) AS counted

-- name: owned_jobs
-- Which of these jobs belong to a user.
SELECT id, user_id FROM generation.generation_job WHERE id = ANY (%(ids)s::uuid[]) AND (%(user)s::text IS NULL OR user_id = %(user)s)

-- name: take_turn
-- Requests that enqueue for one user over HTTP run one after the other, so that none misses jobs that another one is adding.
SELECT pg_advisory_xact_lock(hashtextextended('generation.enqueue.' || %(user)s, 0))

-- name: enqueue_jobs
-- Enqueues a JSON array of requests, all or none.
SELECT id, status, batch AS batch_id, duplicate FROM generation.enqueue_generations(%(jobs)s::jsonb)

-- name: cancel_job
-- Cancels a job that waits, or asks the worker to stop one that runs. No row: there is no such job.
SELECT status, cancel_requested FROM generation.cancel_generation(%(id)s)

-- name: replayed_request
-- The request of a job, for a replay. gone: its uploads that have been deleted since, unless it was replayed already.
SELECT status, kind, user_id, payload, CASE kind WHEN 'image_processing' THEN NULL ELSE provider END AS provider,
       fallback_provider, priority, max_attempts, batch_id,
       ARRAY(SELECT s.key FROM generation.swept_upload s
              WHERE s.key IN (SELECT jsonb_path_query(j.payload, '$.**.key') #>> '{}')
                AND NOT EXISTS (SELECT FROM generation.generation_job r WHERE r.retry_of = j.id)) AS gone
  FROM generation.generation_job j WHERE id = %(id)s

-- name: run_next
-- Moves a waiting job before the first one of its lane, whatever the priority of that one.
WITH job AS MATERIALIZED (
  SELECT id, provider, priority, position, status FROM generation.generation_job
   WHERE id = %(id)s AND status IN ('pending', 'scheduled', 'rate_limited') FOR NO KEY UPDATE
), front AS (
  SELECT j.priority, j.position FROM job JOIN generation.generation_job j ON j.provider = job.provider
   WHERE j.status = 'pending' AND NOT j.parked AND j.id <> job.id AND isfinite(j.position)
   ORDER BY j.priority, j.position, j.id LIMIT 1
), place AS (
  SELECT job.*, coalesce((front.priority, front.position) <= (job.priority, job.position), false) AS behind,
         front.priority AS front_priority, front.position AS front_position
    FROM job LEFT JOIN front ON true
)
UPDATE generation.generation_job j
   SET status = 'pending', run_at = least(j.run_at, clock_timestamp()),
       priority = CASE WHEN behind THEN front_priority ELSE j.priority END,
       position = CASE WHEN behind THEN front_position - interval '1 microsecond' ELSE j.position END
  FROM place WHERE j.id = place.id
RETURNING j.status, j.priority, j.position,
          place.status AS old_status, place.priority AS old_priority, place.position AS old_position

-- name: release_job
-- Lets the lease of a running job expire, so that another worker takes it over, or makes a delayed one due now.
UPDATE generation.generation_job
   SET lease_expires_at = CASE status WHEN 'processing'
                          THEN least(lease_expires_at, clock_timestamp() - interval '1 second') END,
       run_at = CASE status WHEN 'processing' THEN run_at ELSE least(run_at, clock_timestamp()) END
 WHERE id = %(id)s AND status IN ('scheduled', 'rate_limited', 'processing')
RETURNING status, locked_by, run_at, lease_expires_at

-- name: lock_lease
-- A job's lease before a change, locked.
SELECT status, locked_by, run_at, lease_expires_at FROM generation.generation_job WHERE id = %(id)s FOR NO KEY UPDATE

-- name: lock_status
-- A job's status before a change, locked.
SELECT status, cancel_requested_at IS NOT NULL AS cancel_requested FROM generation.generation_job WHERE id = %(id)s FOR NO KEY UPDATE
