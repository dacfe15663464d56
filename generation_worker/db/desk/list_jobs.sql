-- As list_jobs_of_user, for the jobs of everybody: in the order of their ids, which begin with the time.
WITH looked AS MATERIALIZED (
  SELECT id, created_at, status, kind FROM generation_job
   WHERE id < %(before_id)s
   ORDER BY id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM looked) AS looked, created_at AS reached_at, id AS reached
    FROM (SELECT created_at, id FROM looked ORDER BY id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM looked
   WHERE (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s::text[])) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   ORDER BY id DESC LIMIT %(limit)s
)
SELECT reach.looked, reach.reached_at, reach.reached,
       j.id, j.kind, j.user_id, j.status, j.provider, j.fallback_provider, j.cost, j.debited, j.priority, j.attempt,
       j.max_attempts, j.run_at, j.deadline_at, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.batch_id,
       j.batch_index, j.retry_of, j.error_code, j.error_message, j.created_at, j.started_at, j.finished_at
  FROM reach LEFT JOIN (chosen JOIN generation_job j USING (id)) ON true
 ORDER BY j.id DESC
