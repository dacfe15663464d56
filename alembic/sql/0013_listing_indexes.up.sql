-- A page of one user's jobs costs the same whoever else has a million. All users' jobs are listed by their ids, which
-- begin with the time.
CREATE INDEX generation_job_of_user ON generation_job (user_id, created_at DESC, id DESC);
