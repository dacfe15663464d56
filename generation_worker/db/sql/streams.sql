-- Streams: the jobs that server-sent events report.

-- name: start_stream
-- The jobs at the beginning of a stream: one job, the jobs of a batch, or those of a user that wait or run. A job of another
-- user than %(user)s is not found. is_changed: it may have changed since %(horizon)s, where an interrupted stream ended. Only
-- for such a stream are a user's latest jobs read, to find those that ended meanwhile.
WITH mark AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
         pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead, statement_timestamp() AS read_at
), watched AS MATERIALIZED (
  SELECT %(job)s::uuid AS id
  UNION
  SELECT b.id FROM (SELECT id FROM generation.generation_job WHERE batch_id = %(batch)s::uuid LIMIT %(of_batch)s) AS b
  UNION
  SELECT w.id FROM unnest(ARRAY['pending', 'scheduled', 'rate_limited']) AS s (status)
    CROSS JOIN LATERAL (
      SELECT j.id FROM generation.generation_job j
       WHERE j.user_id = %(whose)s::text AND j.status = s.status AND j.status IN ('pending', 'scheduled', 'rate_limited')
       ORDER BY j.position LIMIT %(of_user)s) AS w
  UNION
  SELECT r.id FROM (SELECT id, user_id FROM generation.generation_job WHERE status = 'processing' LIMIT %(cap)s) AS r
   WHERE r.user_id = %(whose)s::text
  UNION
  SELECT l.id FROM mark, (
    SELECT id, xmin AS written_by FROM generation.generation_job
     WHERE user_id = %(whose)s::text AND status <> 'processing' AND %(horizon)s::bigint IS NOT NULL
     ORDER BY created_at DESC, id DESC LIMIT %(latest)s) AS l
   WHERE %(horizon)s > mark.ahead
      OR ((mark.ahead - l.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s
), found AS (
  SELECT %(horizon)s::bigint IS NULL OR %(horizon)s > mark.ahead
           OR ((mark.ahead - j.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s AS is_changed,
         j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
         j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
         j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.result
    FROM mark, watched CROSS JOIN LATERAL (
      SELECT g.xmin AS written_by, g.* FROM generation.generation_job g WHERE g.id = watched.id LIMIT 1) AS j
   WHERE %(user)s::text IS NULL OR j.user_id = %(user)s
)
SELECT mark.horizon, mark.read_at, found.*
  FROM mark LEFT JOIN found ON %(whose)s::text IS NULL OR found.finished_at IS NULL OR found.is_changed
 ORDER BY found.batch_index, found.id

-- name: read_changes
-- Watched jobs that may have changed since the last read: the given ones, and those of the given users. Of a user's jobs, those
-- that wait or run, and those that ended so quickly that no earlier read found them: whatever a user has done before, no more
-- rows are read than the caps allow. Each row is looked up by itself (LIMIT 1): for a join of many, the planner may scan the
-- whole table. For the given lanes, the queue positions are read too, for all watched jobs at once: from the head of each
-- lane, not from the rows before each job.
WITH mark AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
         pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead, statement_timestamp() AS read_at
), watched AS MATERIALIZED (
  SELECT unnest(%(jobs)s::uuid[]) AS id
  UNION
  SELECT w.id FROM unnest(%(users)s::text[]) AS u (user_id)
    CROSS JOIN unnest(ARRAY['pending', 'scheduled', 'rate_limited']) AS s (status)
    CROSS JOIN LATERAL (
      SELECT j.id FROM generation.generation_job j
       WHERE j.user_id = u.user_id AND j.status = s.status AND j.status IN ('pending', 'scheduled', 'rate_limited')
       ORDER BY j.position LIMIT %(of_user)s) AS w
  UNION
  SELECT r.id FROM (SELECT id, user_id FROM generation.generation_job WHERE status = 'processing' LIMIT %(cap)s) AS r
   WHERE cardinality(%(users)s::text[]) > 0 AND r.user_id = ANY (%(users)s::text[])
  UNION
  SELECT e.id FROM (
    SELECT id, user_id FROM generation.generation_job
     WHERE finished_at > %(read_at)s::timestamptz - interval '10 seconds' ORDER BY finished_at DESC LIMIT %(cap)s) AS e
   WHERE cardinality(%(users)s::text[]) > 0 AND e.user_id = ANY (%(users)s::text[])
), line AS MATERIALIZED (
  SELECT head.id, head.queue_position FROM unnest(%(lanes)s::text[]) AS lane (provider)
    CROSS JOIN LATERAL (
      SELECT h.id, row_number() OVER (ORDER BY h.priority, h.position, h.id) - 1 AS queue_position FROM (
        SELECT j.id, j.priority, j.position FROM generation.generation_job j
         WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
         ORDER BY j.priority, j.position, j.id LIMIT %(head)s) AS h) AS head
   WHERE head.id = ANY (%(jobs)s::uuid[])
)
SELECT mark.horizon, mark.read_at, found.*
  FROM mark LEFT JOIN (
    SELECT watched.id AS watched, line.queue_position, j.written_by,
           j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
           j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
           j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.result
      FROM watched LEFT JOIN line ON line.id = watched.id LEFT JOIN LATERAL (
        SELECT g.xmin AS written_by, g.* FROM generation.generation_job g WHERE g.id = watched.id LIMIT 1) AS j ON true) AS found
    ON found.id IS NULL OR found.queue_position IS NOT NULL OR %(horizon)s > mark.ahead
       OR ((mark.ahead - found.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s
