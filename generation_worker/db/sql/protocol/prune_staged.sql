-- Deletes staged images of jobs that ended otherwise: cancelled, past their deadline, or deleted.
DELETE FROM generation.staged_image WHERE job_id IN (
  SELECT s.job_id FROM generation.staged_image s
   WHERE NOT EXISTS (
     SELECT FROM generation.generation_job j WHERE j.id = s.job_id AND j.status NOT IN ('completed', 'failed', 'cancelled'))
   LIMIT %(limit)s)
