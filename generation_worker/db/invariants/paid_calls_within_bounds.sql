-- A row is a job for which the provider was, or may have been, paid more often than allowed: max_paid_calls is the
-- highest that any worker has been run with. Compare the provider's bill; a call whose answer was lost counts as paid.
SELECT job_id, count(*) AS paid_calls, count(*) FILTER (WHERE finished_at IS NULL) AS unanswered
  FROM provider_call
 WHERE spent IS DISTINCT FROM false
 GROUP BY job_id
HAVING count(*) > %(max_paid_calls)s
