-- Moves waiting jobs that name a second provider to it, while every breaker of their first one is open, in the order in which
-- they would start. The two change places, so they come back should it be the other way round. A breaker that is due for its
-- probe does not count as open: somebody has to find out. A job whose answer is kept stays with it.
--
-- Only gates count whose keys a living worker holds, and jobs move only to where a living worker makes images and nobody
-- has paused that.
WITH alive AS (
  SELECT providers, keys FROM generation.worker_process WHERE seen_at > statement_timestamp() - interval '2 minutes'
), broken AS (
  SELECT g.provider FROM generation.provider_gate g
   WHERE EXISTS (SELECT FROM alive WHERE g.key_label = ANY (alive.keys))
   GROUP BY g.provider HAVING bool_and(g.breaker = 'open' AND g.open_until > statement_timestamp())
), movable AS MATERIALIZED (
  SELECT j.id FROM generation.generation_job j
   WHERE j.status = 'pending' AND j.fallback_provider IS NOT NULL AND NOT j.has_answer
     AND j.provider IN (SELECT provider FROM broken) AND j.fallback_provider NOT IN (SELECT provider FROM broken)
     AND NOT EXISTS (SELECT FROM generation.fleet_setting WHERE name = 'paused.provider.' || j.fallback_provider)
     AND EXISTS (SELECT FROM alive WHERE j.fallback_provider = ANY (alive.providers))
   ORDER BY j.priority, j.position, j.id LIMIT %(limit)s
     FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE generation.generation_job j SET provider = j.fallback_provider, fallback_provider = j.provider
  FROM movable WHERE j.id = movable.id
