-- Jobs that failed, the latest first, from a cursor on; with the job that replaced each, if it was replayed.
SELECT j.id, j.kind, j.user_id, j.provider, j.cost, j.debited, j.attempt, j.error_code, j.error_message, j.created_at,
       j.finished_at, r.id AS replayed_as
  FROM generation_job j LEFT JOIN generation_job r ON r.retry_of = j.id
 WHERE j.status = 'failed' AND j.finished_at IS NOT NULL
   AND (%(before_time)s::timestamptz IS NULL
        OR (j.finished_at, j.id) < (%(before_time)s::timestamptz, %(before_id)s::uuid))
   AND (%(code)s::text IS NULL OR j.error_code = %(code)s)
   AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
 ORDER BY j.finished_at DESC, j.id DESC LIMIT %(limit)s
