-- Jobs by their ids, the latest first. Each is looked up by itself (LIMIT 1).
SELECT {job_columns}
  FROM unnest(%(ids)s::uuid[]) AS asked (id)
  CROSS JOIN LATERAL (SELECT g.* FROM generation_job g WHERE g.id = asked.id LIMIT 1) AS j
 ORDER BY j.id DESC
