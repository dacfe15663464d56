-- How many jobs there are in each state. Never reads more than a cap of rows for a part, so that a million jobs cost as
-- little as ten thousand: what is beyond the cap is estimated from the planner's statistics. Each part is read in the
-- order of an index that has only its rows.
WITH looked AS MATERIALIZED (
  (SELECT 'pending' AS part, status FROM generation_job
    WHERE status = 'pending' ORDER BY provider, held, priority, position, id LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'due', status FROM generation_job
    WHERE status IN ('scheduled', 'rate_limited') ORDER BY run_at LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'processing', status FROM generation_job WHERE status = 'processing' ORDER BY id LIMIT %(cap)s + 1)
  UNION ALL
  (SELECT 'final', status FROM generation_job
    WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT %(cap)s + 1)
), whole AS (
  SELECT part, count(*) <= %(cap)s AS whole FROM looked GROUP BY part
), share AS (
  SELECT common.status, c.reltuples * common.freq AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = 'status',
         unnest(s.most_common_vals::text::text[], s.most_common_freqs) AS common (status, freq)
   WHERE c.oid = 'generation_job'::regclass
)
SELECT state.status,
       CASE WHEN coalesce(whole, true) THEN count(looked)
            ELSE greatest(count(looked), round(coalesce(share.rows, 0))::bigint) END AS jobs,
       coalesce(whole, true) AS exact
  FROM (VALUES (1, 'pending', 'pending'), (2, 'scheduled', 'due'), (3, 'rate_limited', 'due'),
               (4, 'processing', 'processing'), (5, 'completed', 'final'), (6, 'failed', 'final'),
               (7, 'cancelled', 'final')) AS state (number, status, part)
  LEFT JOIN whole USING (part) LEFT JOIN share USING (status)
  LEFT JOIN looked ON looked.part = state.part AND looked.status = state.status
 GROUP BY state.number, state.status, whole, share.rows
 ORDER BY state.number
