-- For each lane: which job has been due for longest among the first in line, and how many living workers serve it. A
-- job far down the line waits for its own user's other jobs, so only the front is looked at.
-- What is put aside, because its user or kind is paused, is not in line.
WITH RECURSIVE lane (provider) AS (
  (SELECT provider FROM generation_job WHERE status = 'pending' ORDER BY provider LIMIT 1)
  UNION ALL
  SELECT (SELECT j.provider FROM generation_job j
           WHERE j.status = 'pending' AND j.provider > lane.provider ORDER BY j.provider LIMIT 1)
    FROM lane WHERE lane.provider IS NOT NULL
)
SELECT lane.provider, oldest.id, oldest.user_id, oldest.kind, oldest.run_at AS since,
       greatest(extract(epoch FROM statement_timestamp() - oldest.run_at), 0)::float8 AS seconds,
       (SELECT count(*) FROM worker_process w
         WHERE (lane.provider = 'none' OR lane.provider = ANY (w.providers))
           AND w.seen_at > statement_timestamp() - interval '2 minutes') AS workers
  FROM lane CROSS JOIN LATERAL (
    SELECT * FROM (
      SELECT id, user_id, kind, run_at FROM generation_job
       WHERE status = 'pending' AND provider = lane.provider AND NOT held
       ORDER BY priority, position, id LIMIT %(cap)s) AS front
     ORDER BY run_at, id LIMIT 1) AS oldest
 ORDER BY seconds DESC
