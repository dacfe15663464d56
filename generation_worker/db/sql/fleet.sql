-- The fleet: workers, gates, calls, pauses, live settings and maintenance.

-- name: workers
-- The workers of the last day, and their state. A living worker sends a heartbeat every quarter of its lease.
SELECT id,
       CASE WHEN seen_at < statement_timestamp() - interval '2 minutes' THEN 'silent'
            WHEN stuck > 0 THEN 'stuck' WHEN busy > 0 THEN 'busy' WHEN asleep THEN 'asleep' ELSE 'idle' END AS state,
       busy, stuck, concurrency, providers, version, started_at, seen_at,
       extract(epoch FROM statement_timestamp() - seen_at)::float8 AS seen_seconds
  FROM generation.worker_process
 ORDER BY started_at, id LIMIT %(limit)s

-- name: gates
-- The gates of the providers' keys: how much of the limit the last minute has used, and why a gate is closed.
SELECT key_label, provider, calls_per_minute,
       generation.gate_sum(generation.gate_window(used, head, generation.gate_decisecond(statement_timestamp())))::integer AS used,
       CASE WHEN breaker = 'open' AND probe_job IS NOT NULL AND open_until > statement_timestamp() THEN 'probing'
            WHEN breaker = 'open' THEN 'open'
            WHEN closed_until > statement_timestamp() THEN 'limited' ELSE 'ok' END AS state,
       CASE WHEN breaker = 'open' THEN opened_for
            WHEN closed_until > statement_timestamp() THEN closed_for END AS reason,
       greatest(extract(epoch FROM CASE breaker WHEN 'open' THEN open_until ELSE closed_until END - statement_timestamp()),
                0)::float8 AS seconds,
       opened_at, failures,
       (SELECT count(*) FROM generation.worker_process w
         WHERE key_label = ANY (w.keys) AND w.seen_at > statement_timestamp() - interval '2 minutes')::integer AS workers,
       CASE breaker WHEN 'open' THEN open_until ELSE closed_until END AS until, given_per_minute,
       ARRAY(SELECT w.id FROM generation.worker_process w
              WHERE key_label = ANY (w.keys) AND w.seen_at > statement_timestamp() - interval '2 minutes'
              ORDER BY w.id LIMIT 100) AS holders
  FROM generation.provider_gate
 ORDER BY provider, key_label LIMIT %(limit)s

-- name: lanes
-- How many jobs wait for each provider, by reason: ready, parked because their user or kind is paused, backing off or
-- delayed, or until the provider takes calls again. Counts at most a cap of each.
WITH RECURSIVE lane (provider) AS (
  (SELECT provider FROM generation.generation_job WHERE status = 'pending' ORDER BY provider LIMIT 1)
  UNION ALL
  SELECT (SELECT j.provider FROM generation.generation_job j
           WHERE j.status = 'pending' AND j.provider > lane.provider ORDER BY j.provider LIMIT 1)
    FROM lane WHERE lane.provider IS NOT NULL
), due AS MATERIALIZED (
  SELECT provider, count(*) FILTER (WHERE status = 'scheduled') AS scheduled,
         count(*) FILTER (WHERE status = 'rate_limited') AS rate_limited
    FROM (SELECT provider, status FROM generation.generation_job
           WHERE status IN ('scheduled', 'rate_limited') ORDER BY run_at LIMIT %(cap)s) AS first GROUP BY provider
), waits AS (
  SELECT provider FROM lane WHERE provider IS NOT NULL UNION SELECT provider FROM due
)
SELECT provider,
       (SELECT count(*) FROM (SELECT FROM generation.generation_job j
                               WHERE j.status = 'pending' AND j.provider = waits.provider AND NOT parked
                               ORDER BY priority, position, id LIMIT %(cap)s) AS line) AS pending,
       (SELECT count(*) FROM (SELECT FROM generation.generation_job j
                               WHERE j.status = 'pending' AND j.provider = waits.provider AND parked
                               ORDER BY priority, position, id LIMIT %(cap)s) AS aside) AS parked,
       coalesce(due.scheduled, 0) AS scheduled, coalesce(due.rate_limited, 0) AS rate_limited,
       %(cap)s::bigint AS cap
  FROM waits LEFT JOIN due USING (provider)
 ORDER BY provider

-- name: calls
-- The calls of the last %(seconds)s seconds by key, model and outcome: how many, their mean duration, and how many were
-- paid for without an image, or may have been. Reads a bounded number of calls, the latest ones.
WITH latest AS MATERIALIZED (
  SELECT provider, key_label, model, milliseconds, spent, error_code, finished_at FROM generation.provider_call
   WHERE started_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY started_at DESC LIMIT %(cap)s
)
SELECT provider, key_label, model, CASE WHEN finished_at IS NOT NULL THEN coalesce(error_code, 'ok') END AS outcome,
       count(*) AS calls, avg(milliseconds)::float8 AS mean_milliseconds,
       count(*) FILTER (WHERE spent AND error_code IS NOT NULL) AS paid_in_vain,
       count(*) FILTER (WHERE spent IS NULL AND finished_at IS NOT NULL) AS perhaps_paid,
       (SELECT count(*) < %(cap)s FROM latest) AS exact
  FROM latest GROUP BY provider, key_label, model, outcome
 ORDER BY provider, key_label, model, calls DESC, outcome LIMIT 500

-- name: duplicate_calls
-- Jobs for which a provider was, or may have been, paid more than once: how many, how many calls beyond the first of each,
-- the price of as many images in credits, and the latest of them. Only a job with a second call can be one. Looks at a bounded
-- number of these, the latest ones.
WITH again AS MATERIALIZED (
  SELECT job_id, started_at FROM generation.provider_call
   WHERE number > 1 AND started_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY started_at DESC LIMIT %(cap)s
), paid AS (
  SELECT c.job_id, count(*) AS calls, max(c.started_at) AS last_at FROM generation.provider_call c
   WHERE c.job_id = ANY (ARRAY(SELECT job_id FROM again)) AND c.spent IS DISTINCT FROM false
   GROUP BY c.job_id HAVING count(*) > 1
)
SELECT count(*) AS jobs, coalesce(sum(calls - 1), 0)::bigint AS calls,
       coalesce(sum((calls - 1) * j.cost), 0)::bigint AS credits, (array_agg(job_id ORDER BY last_at DESC))[1] AS example
  FROM paid LEFT JOIN generation.generation_job j ON j.id = job_id

-- name: pauses
-- Everything that is paused, since when, by whom and why.
SELECT name, value ->> 'reason' AS reason, updated_at AS since, updated_by AS by
  FROM generation.fleet_setting WHERE name = 'paused' OR starts_with(name, 'paused.') ORDER BY name

-- name: maintenance
-- The tasks of maintenance: seconds since the last success, the error of the last run, its findings, and for how long the
-- task has been due.
SELECT name, extract(epoch FROM statement_timestamp() - last_ok_at)::float8 AS seconds, last_error, found,
       greatest(extract(epoch FROM statement_timestamp() - next_at), 0)::float8 AS overdue
  FROM generation.maintenance_task ORDER BY name

-- name: fleet_settings
-- The settings of the whole fleet, prices and pauses included.
SELECT name, value, updated_at, updated_by FROM generation.fleet_setting WHERE name <> 'woken' ORDER BY name

-- name: offered_providers
-- The providers that requests may name.
SELECT value FROM generation.fleet_setting WHERE name = 'providers'

-- name: offer_providers
-- Lets requests name these providers.
SELECT generation.offer_providers(%(providers)s)

-- name: lock_setting
-- A setting before a change, locked.
SELECT value FROM generation.fleet_setting WHERE name = %(name)s FOR NO KEY UPDATE

-- name: write_setting
-- Sets a setting of the fleet.
INSERT INTO generation.fleet_setting (name, value, updated_by) VALUES (%(name)s, %(value)s::jsonb, %(by)s)
ON CONFLICT (name) DO UPDATE
   SET value = excluded.value, updated_at = clock_timestamp(), updated_by = excluded.updated_by

-- name: write_pause
-- Pauses something. Paused again, it keeps its beginning (updated_at) and takes on the new reason.
INSERT INTO generation.fleet_setting (name, value, updated_by) VALUES (%(name)s, %(value)s::jsonb, %(by)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_by = excluded.updated_by

-- name: unset_setting
-- Removes a setting or a pause.
DELETE FROM generation.fleet_setting WHERE name = %(name)s

-- name: gate_is_known
-- A row if there is a gate of this key or provider.
SELECT key_label FROM generation.provider_gate WHERE %(name)s IN (key_label, provider) LIMIT 1

-- name: limit_gates
-- Applies the settings calls_per_minute.X to the gates of a key or a provider, locked in the order of their names, as
-- everywhere.
WITH gate AS MATERIALIZED (
  SELECT key_label, generation.gate_limit(key_label, provider, coalesce(given_per_minute, calls_per_minute)) AS calls
    FROM generation.provider_gate WHERE %(name)s IN (key_label, provider) ORDER BY key_label FOR NO KEY UPDATE
)
UPDATE generation.provider_gate g SET calls_per_minute = gate.calls, limited_since = clock_timestamp()
  FROM gate WHERE g.key_label = gate.key_label AND g.calls_per_minute <> gate.calls

-- name: wake_workers
-- Wakes the workers that wait between polls: at once where LISTEN works, and at the next heartbeat elsewhere.
WITH woken AS (
  INSERT INTO generation.fleet_setting (name, value) VALUES ('woken', 'true')
  ON CONFLICT (name) DO UPDATE SET updated_at = clock_timestamp()
)
SELECT pg_notify('generation.signals', 'wake')

-- name: send_messages
-- Sends messages to every worker that listens.
SELECT pg_notify('generation.signals', message) FROM unnest(%(messages)s::text[]) AS message

-- name: listen
-- Listens to the messages between the processes of this installation.
DO $$ BEGIN EXECUTE format('LISTEN %%I', 'generation.signals'); END $$
