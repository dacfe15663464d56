-- The workers that were heard of within the last day, and what they do. A worker that is alive says so every quarter of
-- its lease.
SELECT id,
       CASE WHEN seen_at < statement_timestamp() - interval '2 minutes' THEN 'silent'
            WHEN stuck > 0 THEN 'stuck' WHEN busy > 0 THEN 'busy' WHEN asleep THEN 'asleep' ELSE 'idle' END AS state,
       busy, stuck, concurrency, providers, version, started_at, seen_at,
       extract(epoch FROM statement_timestamp() - seen_at)::float8 AS seen_seconds
  FROM worker_process
 ORDER BY started_at, id LIMIT %(limit)s
