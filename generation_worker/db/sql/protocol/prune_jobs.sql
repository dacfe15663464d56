-- Deletes final jobs older than the retention, with their attempts and calls, a bounded number at a time. Credit entries
-- stay: they are the books.
WITH old AS MATERIALIZED (
  SELECT id FROM generation.generation_job
   WHERE finished_at < statement_timestamp() - make_interval(secs => %(retention)s)
   ORDER BY finished_at LIMIT %(limit)s
     FOR UPDATE SKIP LOCKED
), attempts AS (
  DELETE FROM generation.job_attempt a USING old WHERE a.job_id = old.id
), calls AS (
  DELETE FROM generation.provider_call c USING old WHERE c.job_id = old.id
)
DELETE FROM generation.generation_job j USING old WHERE j.id = old.id
