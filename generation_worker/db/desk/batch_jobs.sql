-- The jobs of a batch, in their order; of one user, if one is asked for.
SELECT j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt,
       j.max_attempts, j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id,
       j.batch_index, j.retry_of, j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM generation_job j WHERE j.batch_id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
 ORDER BY j.batch_index, j.id LIMIT %(limit)s
