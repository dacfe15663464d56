-- A row is a job with more attempts than it may have, or that is processing in no attempt or without a maximum. The
-- table has a CHECK against the first: it was taken away. Cancel the job.
SELECT id AS job_id, status, attempt, max_attempts
  FROM generation_job
 WHERE attempt < 0 OR attempt > max_attempts OR (attempt > 0 OR status = 'processing') AND max_attempts IS NULL
    OR attempt = 0 AND status = 'processing'
