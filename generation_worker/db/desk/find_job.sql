-- One job as it stands; none if it belongs to another user than the one that is asked for.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt,
       j.max_attempts, j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id,
       j.batch_index, j.retry_of, j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at,
       j.payload, j.result, (SELECT r.id FROM generation_job r WHERE r.retry_of = j.id) AS replayed_as,
       extract(epoch FROM statement_timestamp() - j.locked_at)::float8 AS held_seconds,
       j.status IN ('pending', 'scheduled', 'rate_limited')
         AND EXISTS (SELECT FROM generation_pauses(j.kind, j.provider, j.user_id)) AS paused
  FROM generation_job j WHERE j.id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
