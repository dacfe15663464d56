-- READS ONLY
-- What is being worked on, by whom, for how long, and how much of the lease is left. A lease is renewed every quarter
-- of its time; below zero it has expired, and a living worker takes the job over within seconds.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT id, kind, user_id, provider, attempt, max_attempts, locked_by, locked_at,
       date_trunc('second', now() - locked_at) AS runs_for,
       date_trunc('second', lease_expires_at - now()) AS lease_left,
       cancel_requested_at IS NOT NULL AS cancel_requested
  FROM generation_job
 WHERE status = 'processing'
 ORDER BY locked_at;
