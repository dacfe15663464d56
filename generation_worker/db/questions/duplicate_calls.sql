-- Jobs for which a provider was, or may have been, paid more than once: how many, how many calls beyond the first of each,
-- what as many images cost in credits, and the latest of them. Only a job with a second call can be one. Looks at a bounded
-- number of these, the latest ones.
WITH again AS MATERIALIZED (
  SELECT job_id, started_at FROM provider_call
   WHERE number > 1 AND started_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY started_at DESC LIMIT %(cap)s
), paid AS (
  SELECT c.job_id, count(*) AS calls, max(c.started_at) AS last_at FROM provider_call c
   WHERE c.job_id = ANY (ARRAY(SELECT job_id FROM again)) AND c.spent IS DISTINCT FROM false
   GROUP BY c.job_id HAVING count(*) > 1
)
SELECT count(*) AS jobs, coalesce(sum(calls - 1), 0)::bigint AS calls,
       coalesce(sum((calls - 1) * j.cost), 0)::bigint AS credits, (array_agg(job_id ORDER BY last_at DESC))[1] AS example
  FROM paid LEFT JOIN generation_job j ON j.id = job_id
