-- One job as it stands, with the job that replaced it, if it was replayed.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.payload, j.result, j.cost, j.debited, j.priority, j.position,
       j.attempt, j.max_attempts, j.crashes, j.waits, j.run_at, j.deadline_at, j.locked_by, j.locked_at,
       j.lease_expires_at, j.cancel_requested_at, j.batch_id, j.batch_index, j.idempotency_key, j.retry_of,
       (SELECT r.id FROM generation_job r WHERE r.retry_of = j.id) AS replayed_as,
       j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at, j.traceparent,
       extract(epoch FROM statement_timestamp() - j.locked_at)::float8 AS held_seconds,
       j.status IN ('pending', 'scheduled', 'rate_limited')
         AND EXISTS (SELECT FROM generation_pauses(j.kind, j.provider, j.user_id)) AS paused
  FROM generation_job j WHERE j.id = %(id)s
