-- Which of these uploads nobody wants any more: they are old, and no job that waits or runs names them. Looks at a cap of
-- such jobs; while there are more of them, everything is kept.
WITH old AS MATERIALIZED (
  SELECT o.key FROM unnest(%(keys)s::text[], %(modified)s::timestamptz[]) AS o (key, modified_at)
   WHERE o.modified_at < statement_timestamp() - make_interval(secs => %(age)s)
), unfinished AS MATERIALIZED (
  SELECT payload FROM (
    SELECT payload FROM generation.generation_job WHERE status = 'pending'
    UNION ALL
    SELECT payload FROM generation.generation_job WHERE status IN ('scheduled', 'rate_limited')
    UNION ALL
    SELECT payload FROM generation.generation_job WHERE status = 'processing') AS j
   WHERE EXISTS (SELECT FROM old) LIMIT %(cap)s + 1
), named AS MATERIALIZED (
  SELECT DISTINCT jsonb_path_query(payload, '$.**.key') #>> '{}' AS key FROM unfinished
)
SELECT key FROM old
 WHERE key NOT IN (SELECT key FROM named WHERE key IS NOT NULL) AND (SELECT count(*) FROM unfinished) <= %(cap)s
