-- The job that waits for its time and is due next.
SELECT id, status, run_at, extract(epoch FROM run_at - statement_timestamp())::float8 AS seconds
  FROM generation_job WHERE status IN ('scheduled', 'rate_limited')
 ORDER BY run_at LIMIT 1
