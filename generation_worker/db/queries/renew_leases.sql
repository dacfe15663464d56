-- One heartbeat for all jobs of a worker. A job that does not come back is lost; cancel_requested is the way in which a
-- request to cancel reaches a running attempt. The lease never outlives the attempt's own deadline by more than the grace:
-- a living heartbeat cannot shield a thread that is stuck.
WITH held AS MATERIALIZED (
  SELECT j.id FROM generation_job j
    JOIN jsonb_to_recordset(%(leases)s::jsonb) AS mine (id uuid, token uuid) ON mine.id = j.id AND mine.token = j.lease_token
   WHERE j.status = 'processing'
   ORDER BY j.id FOR NO KEY UPDATE OF j
)
UPDATE generation_job j
   SET lease_expires_at = greatest(j.lease_expires_at, least(
         clock_timestamp() + make_interval(secs => %(lease)s),
         least(j.locked_at + make_interval(secs => %(timeout)s), j.deadline_at) + make_interval(secs => %(grace)s)))
  FROM held
 WHERE j.id = held.id
RETURNING j.id::text, j.cancel_requested_at IS NOT NULL AS cancel_requested
