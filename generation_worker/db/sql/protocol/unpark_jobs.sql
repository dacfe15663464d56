-- Gives held jobs their places back when neither their user nor their kind is paused any more. It steps from one kind and
-- user to the next, so however many are held rightly cost it nothing.
WITH RECURSIVE paused AS MATERIALIZED (
  SELECT name FROM generation.fleet_setting WHERE starts_with(name, 'paused.')
), owner (kind, user_id) AS (
  (SELECT kind, user_id FROM generation.generation_job WHERE status = 'pending' AND parked ORDER BY kind, user_id LIMIT 1)
  UNION ALL
  SELECT next.kind, next.user_id FROM owner CROSS JOIN LATERAL (
    SELECT j.kind, j.user_id FROM generation.generation_job j
     WHERE j.status = 'pending' AND j.parked AND (j.kind, j.user_id) > (owner.kind, owner.user_id)
     ORDER BY j.kind, j.user_id LIMIT 1) next
), found AS MATERIALIZED (
  SELECT j.id FROM generation.generation_job j
    JOIN owner ON owner.kind = j.kind AND owner.user_id = j.user_id
   WHERE j.status = 'pending' AND j.parked
     AND 'paused.user.' || owner.user_id NOT IN (SELECT name FROM paused)
     AND 'paused.kind.' || owner.kind NOT IN (SELECT name FROM paused)
   LIMIT %(limit)s
     FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE generation.generation_job j SET parked = false FROM found WHERE j.id = found.id
