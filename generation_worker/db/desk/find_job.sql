-- One job as it stands; none if it belongs to another user than the one that is asked for.
SELECT {job_columns},
       j.payload, j.result, (SELECT r.id FROM generation_job r WHERE r.retry_of = j.id) AS replayed_as,
       extract(epoch FROM statement_timestamp() - j.locked_at)::float8 AS held_seconds,
       j.status IN ('pending', 'scheduled', 'rate_limited')
         AND EXISTS (SELECT FROM generation_pauses(j.kind, j.provider, j.user_id)) AS paused
  FROM generation_job j WHERE j.id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
