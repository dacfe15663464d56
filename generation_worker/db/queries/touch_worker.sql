-- Says that the worker lives, and what it is doing. A gate that somebody has deleted is there again: without it, nothing of
-- its provider would be claimed.
WITH gate AS (
  INSERT INTO provider_gate (key_label, provider, calls_per_minute)
  SELECT * FROM unnest(%(keys)s::text[], %(key_providers)s::text[], %(limits)s::int[]) AS key (label, provider, calls)
   WHERE NOT EXISTS (SELECT FROM provider_gate g WHERE g.key_label = label)
  ON CONFLICT (key_label) DO NOTHING
)
UPDATE worker_process
   SET seen_at = clock_timestamp(), concurrency = %(concurrency)s, busy = %(busy)s, stuck = %(stuck)s
 WHERE id = %(worker)s
