-- READS ONLY
-- The workers that were seen within the last day. One that is silent for two minutes has died or lost the database;
-- its jobs are taken over. One with stuck threads ends by itself when there are too many. Different versions side by
-- side are normal while a new one is rolled out.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT w.id,
       CASE WHEN w.seen_at < now() - interval '2 minutes' THEN 'silent' WHEN w.stuck > 0 THEN 'stuck'
            WHEN w.busy > 0 THEN 'busy' WHEN w.asleep THEN 'asleep' ELSE 'idle' END AS state,
       w.busy, w.stuck, w.concurrency,
       (SELECT count(*) FROM generation_job j WHERE j.status = 'processing' AND j.locked_by = w.id) AS leases,
       w.providers, w.version, w.started_at, w.seen_at
  FROM worker_process w
 ORDER BY w.started_at, w.id;
