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
       {job_columns}
  FROM reach LEFT JOIN (chosen JOIN generation_job j USING (id)) ON true
 ORDER BY j.id DESC
