-- What is being worked on, the longest first, and how much of each lease is left (below zero: it has expired).
SELECT id, kind, user_id, provider, attempt, max_attempts, locked_by AS worker,
       extract(epoch FROM statement_timestamp() - locked_at)::float8 AS seconds,
       extract(epoch FROM lease_expires_at - statement_timestamp())::float8 AS lease_seconds,
       cancel_requested_at IS NOT NULL AS cancel_requested
  FROM generation_job WHERE status = 'processing'
 ORDER BY locked_at, id LIMIT %(limit)s
