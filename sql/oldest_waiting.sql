-- READS ONLY
-- The jobs that have been due for longest (20 unless you say otherwise: psql -v limit=50 …). A user who has enqueued
-- a thousand jobs has to wait for their own; if users with few jobs stand here, more workers are needed.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?limit}
\else
  \set limit 20
\endif
SELECT j.id, j.user_id, j.kind, j.provider, j.priority, j.run_at AS due_since,
       date_trunc('second', now() - j.run_at) AS waits,
       (SELECT count(*) FROM generation_job o
         WHERE o.user_id = j.user_id AND o.status = 'pending' AND o.position < j.position) AS own_jobs_before
  FROM (SELECT id, user_id, kind, provider, priority, position, run_at FROM generation_job
         WHERE status = 'pending' ORDER BY run_at, id LIMIT :limit) j
 ORDER BY j.run_at, j.id;
