-- What a stream begins with: one job, the jobs of a batch, or those of a user that wait or run; of a job that belongs to
-- another user than the one who asks nothing is found. is_news: it may have changed since the stream was cut, if it was.
-- Only then are a user's latest jobs looked through for those that ended meanwhile.
WITH mark AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
         pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead, statement_timestamp() AS seen_at
), asked AS MATERIALIZED (
  SELECT %(job)s::uuid AS id
  UNION
  SELECT b.id FROM (SELECT id FROM generation_job WHERE batch_id = %(batch)s::uuid LIMIT %(of_batch)s) AS b
  UNION
  SELECT w.id FROM unnest(ARRAY['pending', 'scheduled', 'rate_limited']) AS s (status)
    CROSS JOIN LATERAL (
      SELECT j.id FROM generation_job j
       WHERE j.user_id = %(whose)s::text AND j.status = s.status AND j.status IN ('pending', 'scheduled', 'rate_limited')
       ORDER BY j.position LIMIT %(of_user)s) AS w
  UNION
  SELECT r.id FROM (SELECT id, user_id FROM generation_job WHERE status = 'processing' LIMIT %(cap)s) AS r
   WHERE r.user_id = %(whose)s::text
  UNION
  SELECT l.id FROM mark, (
    SELECT id, xmin AS written_by FROM generation_job
     WHERE user_id = %(whose)s::text AND status <> 'processing' AND %(horizon)s::bigint IS NOT NULL
     ORDER BY created_at DESC, id DESC LIMIT %(latest)s) AS l
   WHERE %(horizon)s > mark.ahead
      OR ((mark.ahead - l.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s
), found AS (
  SELECT %(horizon)s::bigint IS NULL OR %(horizon)s > mark.ahead
           OR ((mark.ahead - j.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s AS is_news,
         {job_columns}, j.result
    FROM mark, asked CROSS JOIN LATERAL (
      SELECT g.xmin AS written_by, g.* FROM generation_job g WHERE g.id = asked.id LIMIT 1) AS j
   WHERE %(user)s::text IS NULL OR j.user_id = %(user)s
)
SELECT mark.horizon, mark.seen_at, found.*
  FROM mark LEFT JOIN found ON %(whose)s::text IS NULL OR found.finished_at IS NULL OR found.is_news
 ORDER BY found.batch_index, found.id
