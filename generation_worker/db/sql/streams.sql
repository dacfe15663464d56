-- Streams: what server-sent events are made from.

-- name: open_watch
-- What a stream begins with: one job, the jobs of a batch, or those of a user that wait or run; of a job that belongs to
-- another user than the one who asks nothing is found. is_news: it may have changed since the stream was cut, if it was.
-- Only then are a user's latest jobs looked through for those that ended meanwhile.
WITH mark AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
         pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead, statement_timestamp() AS seen_at
), asked AS MATERIALIZED (
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
           OR ((mark.ahead - j.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s AS is_news,
         j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
         j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
         j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.result
    FROM mark, asked CROSS JOIN LATERAL (
      SELECT g.xmin AS written_by, g.* FROM generation.generation_job g WHERE g.id = asked.id LIMIT 1) AS j
   WHERE %(user)s::text IS NULL OR j.user_id = %(user)s
)
SELECT mark.horizon, mark.seen_at, found.*
  FROM mark LEFT JOIN found ON %(whose)s::text IS NULL OR found.finished_at IS NULL OR found.is_news
 ORDER BY found.batch_index, found.id

-- name: watched_jobs
-- Jobs that somebody watches and that may have changed since the last look: those that are named, and those of users
-- who are watched as a whole. Of these, the ones that wait or run, and the ones that ended so quickly that no look ever
-- saw them: whatever a user has done before, no more rows are read than the caps allow. Each row is looked up by itself
-- (LIMIT 1), since a planner that joins many at once may go through the whole table for them. Some looks also bring the
-- places in line, for everybody at once: the head of each lane is read, and not the rows before each job.
WITH mark AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
         pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead, statement_timestamp() AS seen_at
), asked AS MATERIALIZED (
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
     WHERE finished_at > %(seen_at)s::timestamptz - interval '10 seconds' ORDER BY finished_at DESC LIMIT %(cap)s) AS e
   WHERE cardinality(%(users)s::text[]) > 0 AND e.user_id = ANY (%(users)s::text[])
), line AS MATERIALIZED (
  SELECT head.id, head.place FROM unnest(%(lanes)s::text[]) AS lane (provider)
    CROSS JOIN LATERAL (
      SELECT h.id, row_number() OVER (ORDER BY h.priority, h.position, h.id) - 1 AS place FROM (
        SELECT j.id, j.priority, j.position FROM generation.generation_job j
         WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.held
         ORDER BY j.priority, j.position, j.id LIMIT %(head)s) AS h) AS head
   WHERE head.id = ANY (%(jobs)s::uuid[])
)
SELECT mark.horizon, mark.seen_at, found.*
  FROM mark LEFT JOIN (
    SELECT asked.id AS asked, line.place, j.written_by,
           j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
           j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
           j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.result
      FROM asked LEFT JOIN line ON line.id = asked.id LEFT JOIN LATERAL (
        SELECT g.xmin AS written_by, g.* FROM generation.generation_job g WHERE g.id = asked.id LIMIT 1) AS j ON true) AS found
    ON found.id IS NULL OR found.place IS NOT NULL OR %(horizon)s > mark.ahead
       OR ((mark.ahead - found.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s
