-- READS ONLY
-- Why jobs failed within the last :hours hours (24 unless you say otherwise: psql -v hours=72 …). Look at an example
-- with generation-worker job show ID; when the cause is gone, replay them: generation-worker dead replay --code CODE
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?hours}
\else
  \set hours 24
\endif
SELECT error_code, provider, count(*) AS jobs, count(DISTINCT user_id) AS users, max(finished_at) AS latest,
       (array_agg(id ORDER BY finished_at DESC))[1] AS example,
       left((array_agg(error_message ORDER BY finished_at DESC))[1], 100) AS message
  FROM generation_job
 WHERE status = 'failed' AND finished_at > now() - make_interval(hours => :'hours'::int)
 GROUP BY error_code, provider
 ORDER BY jobs DESC, error_code, provider;
