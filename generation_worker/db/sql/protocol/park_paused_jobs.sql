-- Puts aside the jobs at the front of each lane whose user or kind is paused. Only the front: a claim reads no further, and
-- what is behind comes there in time. The pauses are locked against being lifted meanwhile: whoever lifts one then finds all
-- that was held because of it.
WITH RECURSIVE paused AS MATERIALIZED (
  SELECT name FROM generation.fleet_setting
   WHERE starts_with(name, 'paused.user.') OR starts_with(name, 'paused.kind.') ORDER BY name FOR SHARE
), lane (provider) AS (
  (SELECT j.provider FROM generation.generation_job j
    WHERE j.status = 'pending' AND EXISTS (SELECT FROM paused) ORDER BY j.provider LIMIT 1)
  UNION ALL
  SELECT (SELECT j.provider FROM generation.generation_job j
           WHERE j.status = 'pending' AND j.provider > lane.provider ORDER BY j.provider LIMIT 1)
    FROM lane WHERE lane.provider IS NOT NULL
), front AS MATERIALIZED (
  SELECT job.* FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.kind, j.user_id FROM generation.generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
     ORDER BY j.priority, j.position, j.id LIMIT %(limit)s) job
), found AS MATERIALIZED (
  SELECT j.id FROM generation.generation_job j
   WHERE j.id = ANY (ARRAY(SELECT id FROM front WHERE 'paused.user.' || user_id IN (SELECT name FROM paused)
                                                   OR 'paused.kind.' || kind IN (SELECT name FROM paused)))
     AND j.status = 'pending' AND NOT j.parked
   ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE generation.generation_job j SET parked = true FROM found WHERE j.id = found.id
