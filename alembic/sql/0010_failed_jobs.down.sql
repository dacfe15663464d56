DROP INDEX generation_job_failed;
