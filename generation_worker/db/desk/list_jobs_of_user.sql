-- A page of one user's jobs, the latest first, from a cursor on; with how many were looked at and where that ended. No
-- more than a cap is looked at, however few the filters let through. Those that run and all others stand in an index each
-- (see 0023): of both, the latest are taken.
WITH looked AS MATERIALIZED (
  SELECT * FROM (
    (SELECT id, created_at, status, kind FROM generation_job
      WHERE user_id = %(user)s AND (created_at, id) < (%(before_time)s, %(before_id)s) AND status <> 'processing'
      ORDER BY created_at DESC, id DESC LIMIT %(cap)s)
    UNION ALL
    (SELECT id, created_at, status, kind FROM generation_job
      WHERE user_id = %(user)s AND (created_at, id) < (%(before_time)s, %(before_id)s) AND status = 'processing'
      ORDER BY created_at DESC, id DESC LIMIT %(cap)s)) AS both_kinds
   ORDER BY created_at DESC, id DESC LIMIT %(cap)s
), reach AS (
  SELECT (SELECT count(*) FROM looked) AS looked, created_at AS reached_at, id AS reached
    FROM (SELECT created_at, id FROM looked ORDER BY created_at, id LIMIT 1) AS last
), chosen AS (
  SELECT id FROM looked
   WHERE (%(statuses)s::text[] IS NULL OR status = ANY (%(statuses)s::text[])) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   ORDER BY created_at DESC, id DESC LIMIT %(limit)s
)
SELECT reach.looked, reach.reached_at, reach.reached,
       {job_columns}
  FROM reach LEFT JOIN (chosen JOIN generation_job j USING (id)) ON true
 ORDER BY j.created_at DESC, j.id DESC
