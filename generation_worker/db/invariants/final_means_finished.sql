-- A row is a job that is final without the time at which it became so, or has that time without being final. The table
-- has a CHECK or a trigger against it: it was switched off.
SELECT id AS job_id, status, started_at, finished_at
  FROM generation_job
 WHERE (finished_at IS NOT NULL) <> (status IN ('completed', 'failed', 'cancelled'))
