-- What is told of a job wherever jobs are told of: of the row j.
j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt, j.max_attempts,
j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id, j.batch_index, j.retry_of,
j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
