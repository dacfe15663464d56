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
      SELECT j.id FROM generation_job j
       WHERE j.user_id = u.user_id AND j.status = s.status AND j.status IN ('pending', 'scheduled', 'rate_limited')
       ORDER BY j.position LIMIT %(of_user)s) AS w
  UNION
  SELECT r.id FROM (SELECT id, user_id FROM generation_job WHERE status = 'processing' LIMIT %(cap)s) AS r
   WHERE cardinality(%(users)s::text[]) > 0 AND r.user_id = ANY (%(users)s::text[])
  UNION
  SELECT e.id FROM (
    SELECT id, user_id FROM generation_job
     WHERE finished_at > %(seen_at)s::timestamptz - interval '10 seconds' ORDER BY finished_at DESC LIMIT %(cap)s) AS e
   WHERE cardinality(%(users)s::text[]) > 0 AND e.user_id = ANY (%(users)s::text[])
), line AS MATERIALIZED (
  SELECT head.id, head.place FROM unnest(%(lanes)s::text[]) AS lane (provider)
    CROSS JOIN LATERAL (
      SELECT h.id, row_number() OVER (ORDER BY h.priority, h.position, h.id) - 1 AS place FROM (
        SELECT j.id, j.priority, j.position FROM generation_job j
         WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.held
         ORDER BY j.priority, j.position, j.id LIMIT %(head)s) AS h) AS head
   WHERE head.id = ANY (%(jobs)s::uuid[])
)
SELECT mark.horizon, mark.seen_at, found.*
  FROM mark LEFT JOIN (
    SELECT asked.id AS asked, line.place, j.written_by,
           {job_columns}, j.result
      FROM asked LEFT JOIN line ON line.id = asked.id LEFT JOIN LATERAL (
        SELECT g.xmin AS written_by, g.* FROM generation_job g WHERE g.id = asked.id LIMIT 1) AS j ON true) AS found
    ON found.id IS NULL OR found.place IS NOT NULL OR %(horizon)s > mark.ahead
       OR ((mark.ahead - found.written_by::text::bigint) & 4294967295) <= mark.ahead - %(horizon)s
