-- Jobs that failed, the latest first, from a cursor on; with the job that replaced each, if it was replayed; with how many
-- were looked at and where that ended. No more than a cap is looked at, however few the filters let through.
WITH looked AS MATERIALIZED (
  SELECT id, finished_at, error_code, user_id FROM generation_job
   WHERE status = 'failed' AND finished_at IS NOT NULL
     AND (%(before_time)s::timestamptz IS NULL OR (finished_at, id) < (%(before_time)s::timestamptz, %(before_id)s::uuid))
   ORDER BY finished_at DESC, id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM looked) AS looked, finished_at AS reached_at, id AS reached
    FROM (SELECT finished_at, id FROM looked ORDER BY finished_at, id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM looked
   WHERE (%(code)s::text IS NULL OR error_code = %(code)s) AND (%(user)s::text IS NULL OR user_id = %(user)s)
   ORDER BY finished_at DESC, id DESC LIMIT %(limit)s
)
SELECT reach.looked, reach.reached_at, reach.reached,
       j.id, j.kind, j.user_id, j.provider, j.cost, j.debited, j.attempt, j.error_code, j.error_message, j.created_at,
       j.finished_at, r.id AS replayed_as
  FROM reach LEFT JOIN (chosen JOIN generation_job j USING (id) LEFT JOIN generation_job r ON r.retry_of = j.id) ON true
 ORDER BY j.finished_at DESC, j.id DESC
