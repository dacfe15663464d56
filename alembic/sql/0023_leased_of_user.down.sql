DROP INDEX generation_job_of_user, generation_job_leased;
CREATE INDEX generation_job_of_user ON generation_job (user_id, created_at DESC, id DESC);
CREATE INDEX generation_job_leased ON generation_job (id) WHERE status = 'processing';
