-- Few jobs fail: a list of those, by code or by user too, must not read all that were completed. Only a job's last change
-- writes to it, and that of the few.
CREATE INDEX generation_job_failed ON generation_job (finished_at, id) WHERE status = 'failed';
