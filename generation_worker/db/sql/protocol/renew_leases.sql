-- One heartbeat for all jobs of a worker. A job that does not come back is lost; cancel_requested is the way in which a
-- request to cancel reaches a running attempt. The lease never outlives the attempt's own deadline by more than the grace:
-- a living heartbeat cannot shield a thread that is stuck.
--
-- A row that somebody has locked costs the others nothing: it is passed over and comes back as not renewed. Nobody can take
-- it over before the lock is gone, and whether it was lost is seen at the next beat.
WITH mine AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(%(leases)s::jsonb) AS mine (id uuid, token uuid)
), seen AS (
  SELECT j.id, j.cancel_requested_at IS NOT NULL AS cancel_requested
    FROM generation.generation_job j JOIN mine ON (mine.id, mine.token) = (j.id, j.lease_token)
   WHERE j.status = 'processing'
), held AS MATERIALIZED (
  SELECT j.id FROM generation.generation_job j JOIN mine ON mine.id = j.id AND mine.token = j.lease_token
   WHERE j.status = 'processing'
   ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED
), renewed AS (
  UPDATE generation.generation_job j
     SET lease_expires_at = greatest(j.lease_expires_at, least(
           clock_timestamp() + make_interval(secs => %(lease)s),
           least(j.locked_at + make_interval(secs => %(timeout)s), j.deadline_at) + make_interval(secs => %(grace)s)))
    FROM held
   WHERE j.id = held.id
  RETURNING j.id, j.cancel_requested_at IS NOT NULL AS cancel_requested
)
SELECT seen.id::text, renewed.id IS NOT NULL AS renewed, coalesce(renewed.cancel_requested, seen.cancel_requested) AS cancel_requested
  FROM seen LEFT JOIN renewed ON renewed.id = seen.id
