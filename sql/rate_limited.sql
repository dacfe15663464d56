-- READS ONLY
-- How many jobs wait because a provider said that it is too early, and when the first of them may start. Nothing is to
-- be done: they start by themselves and have used up no attempt. If there are always many, lower the limit per minute
-- to what the provider really allows, or raise it there.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT provider, count(*) AS jobs, min(run_at) AS earliest_run_at, max(run_at) AS latest_run_at,
       max(waits) AS most_waits
  FROM generation_job
 WHERE status = 'rate_limited'
 GROUP BY provider
 ORDER BY jobs DESC, provider;
