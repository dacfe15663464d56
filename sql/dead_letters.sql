-- READS ONLY
-- The jobs that failed last (50 unless you say otherwise: psql -v limit=200 …), what each gave back, and the job that
-- replaced it, if somebody replayed it. Replay one with generation-worker job retry ID
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?limit}
\else
  \set limit 50
\endif
SELECT j.id, j.finished_at, j.user_id, j.kind, j.provider, j.attempt, j.error_code,
       left(j.error_message, 100) AS message,
       (SELECT amount FROM credit_entry e WHERE e.job_id = j.id AND e.kind = 'refund') AS refunded,
       (SELECT r.id FROM generation_job r WHERE r.retry_of = j.id) AS replayed_as
  FROM generation_job j
 WHERE j.status = 'failed' AND j.finished_at IS NOT NULL
 ORDER BY j.finished_at DESC, j.id DESC
 LIMIT :limit;
