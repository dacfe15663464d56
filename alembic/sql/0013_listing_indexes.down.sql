DROP INDEX generation_job_of_user;
