-- What waits for each provider, by why it does: in line, put aside because its user or kind is paused, backing off or
-- delayed, or until the provider takes calls again. Counts at most a cap of each.
WITH RECURSIVE lane (provider) AS (
  (SELECT provider FROM generation_job WHERE status = 'pending' ORDER BY provider LIMIT 1)
  UNION ALL
  SELECT (SELECT j.provider FROM generation_job j
           WHERE j.status = 'pending' AND j.provider > lane.provider ORDER BY j.provider LIMIT 1)
    FROM lane WHERE lane.provider IS NOT NULL
), due AS MATERIALIZED (
  SELECT provider, count(*) FILTER (WHERE status = 'scheduled') AS scheduled,
         count(*) FILTER (WHERE status = 'rate_limited') AS rate_limited
    FROM (SELECT provider, status FROM generation_job
           WHERE status IN ('scheduled', 'rate_limited') ORDER BY run_at LIMIT %(cap)s) AS first GROUP BY provider
), waits AS (
  SELECT provider FROM lane WHERE provider IS NOT NULL UNION SELECT provider FROM due
)
SELECT provider,
       (SELECT count(*) FROM (SELECT FROM generation_job j
                               WHERE j.status = 'pending' AND j.provider = waits.provider AND NOT held
                               ORDER BY priority, position, id LIMIT %(cap)s) AS line) AS pending,
       (SELECT count(*) FROM (SELECT FROM generation_job j
                               WHERE j.status = 'pending' AND j.provider = waits.provider AND held
                               ORDER BY priority, position, id LIMIT %(cap)s) AS aside) AS held,
       coalesce(due.scheduled, 0) AS scheduled, coalesce(due.rate_limited, 0) AS rate_limited,
       %(cap)s::bigint AS cap
  FROM waits LEFT JOIN due USING (provider)
 ORDER BY provider
