-- Each claim and each settlement writes a job anew into every index that it stands in. The index of the jobs that run now has
-- the order in which a user's jobs are listed, and the other one is for all others: a claim writes one entry less.
DROP INDEX generation_job_of_user, generation_job_leased;
CREATE INDEX generation_job_of_user ON generation_job (user_id, created_at DESC, id DESC) WHERE status <> 'processing';
CREATE INDEX generation_job_leased ON generation_job (user_id, created_at DESC, id DESC) WHERE status = 'processing';
