-- READS ONLY
-- How many jobs may be claimed now, in each lane, and since when the longest has been due. If the number grows, start
-- more workers or raise WORKER_CONCURRENCY; if `workers` is 0, none that lives offers this provider.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT j.provider, count(*) AS jobs, count(DISTINCT j.user_id) AS users, min(j.run_at) AS due_since,
       date_trunc('second', greatest(now() - min(j.run_at), interval '0')) AS waits,
       (SELECT count(*) FROM worker_process w
         WHERE (j.provider = 'none' OR j.provider = ANY (w.providers)) AND w.seen_at > now() - interval '2 minutes'
       ) AS workers
  FROM generation_job j
 WHERE j.status = 'pending'
 GROUP BY j.provider
 ORDER BY jobs DESC, j.provider;
