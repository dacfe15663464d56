-- A row is a job that was completed other than once, or that is not completed although an attempt completed it, or that
-- was worked on after that: it left its final state. Its user may have two images for one price, or have lost one.
SELECT j.id AS job_id, j.status, a.completions, a.completed_at, a.last_start
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome = 'completed') AS completions,
                    max(ended_at) FILTER (WHERE outcome = 'completed') AS completed_at,
                    max(started_at) FILTER (WHERE outcome <> 'completed') AS last_start
               FROM job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE coalesce(a.completions, 0) <> CASE j.status WHEN 'completed' THEN 1 ELSE 0 END OR a.last_start > a.completed_at
