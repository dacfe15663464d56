-- Takes deliveries that are due, for endpoints that are neither disabled nor have asked to be left alone. Whoever takes one
-- has it until its lease is over; then it is due again, for anybody, with the same id and body. The token is the fence.
--
-- No endpoint takes more than per_endpoint senders of this worker, one that is failing no more than one, and all that are
-- failing together no more than failing_slots: a slow or dead endpoint holds up nobody but itself. busy says how many
-- senders of this worker each has already.
WITH endpoint AS (
  SELECT id, url, failing_since IS NOT NULL AS failing,
         array_remove(ARRAY[secret, CASE WHEN old_secret_until > statement_timestamp() THEN old_secret END], NULL) AS secrets,
         CASE WHEN failing_since IS NULL THEN %(per_endpoint)s ELSE 1 END - coalesce((%(busy)s::jsonb->>id::text)::integer, 0) AS room
    FROM generation.webhook_endpoint
   WHERE disabled_at IS NULL AND (closed_until IS NULL OR closed_until <= statement_timestamp())
), due AS MATERIALIZED (
  SELECT d.id, d.next_at, e.url, e.secrets, e.failing
    FROM endpoint e CROSS JOIN LATERAL (
      SELECT id, next_at FROM generation.webhook_delivery
       WHERE endpoint_id = e.id AND status = 'pending' AND next_at <= statement_timestamp()
       ORDER BY next_at LIMIT greatest(e.room, 0)
         FOR NO KEY UPDATE SKIP LOCKED) d
), chosen AS (
  SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY failing ORDER BY next_at, id) AS place FROM due) d
   WHERE NOT failing OR place <= %(failing_slots)s
   ORDER BY failing, place LIMIT %(slots)s
)
UPDATE generation.webhook_delivery d
   SET attempts = d.attempts + 1, next_at = clock_timestamp() + make_interval(secs => %(lease)s), lease_token = gen_random_uuid()
  FROM chosen c
 WHERE d.id = c.id
RETURNING d.id::text, d.endpoint_id::text AS endpoint, d.event, c.url, c.secrets, c.failing, d.body, d.attempts, d.lease_token::text AS token,
          d.job_id::text AS job, (SELECT j.traceparent FROM generation.generation_job j WHERE j.id = d.job_id) AS traceparent
