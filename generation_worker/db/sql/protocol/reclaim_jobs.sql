-- Takes over jobs whose lease has expired, with a new token: from here on the silent worker can write nothing. That the
-- attempt crashed is then settled like any other outcome; should this worker die before, the short lease expires in turn.
-- locked_by stays, so that the history names the worker that fell silent.
WITH expired AS MATERIALIZED (
  SELECT id, lease_token FROM generation.generation_job
   WHERE status = 'processing' AND lease_expires_at < statement_timestamp()
   ORDER BY id LIMIT %(limit)s
     FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE generation.generation_job j
   SET lease_token = gen_random_uuid(), lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)
  FROM expired
 WHERE j.id = expired.id
RETURNING j.id::text, j.kind, j.user_id, j.provider, j.payload::text, j.cost, j.attempt, j.max_attempts, j.crashes, j.waits,
          j.lease_token::text, (extract(epoch FROM j.deadline_at) - extract(epoch FROM clock_timestamp()))::float8 AS seconds_left,
          j.priority, to_jsonb(j.position) #>> '{}' AS position, 0::float8 AS waited,
          (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent,
          j.locked_by, extract(epoch FROM clock_timestamp() - j.locked_at)::float8 AS held_for, expired.lease_token::text AS began_with
