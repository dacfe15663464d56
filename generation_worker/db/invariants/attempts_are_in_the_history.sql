-- A row is a job whose count of attempts is not what its history says: an attempt ended without being written down, or
-- was written down twice. One that waited for a limit, or was interrupted, was given back and does not count; in a
-- final job the last of these may count, for it ended there.
SELECT j.id AS job_id, j.status, j.attempt, coalesce(a.counted, 0) AS counted_in_history, a.given_back
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome NOT IN ('rate_limited', 'released')) AS counted,
                    count(*) FILTER (WHERE outcome IN ('rate_limited', 'released')) AS given_back
               FROM job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE j.attempt - coalesce(a.counted, 0) <> CASE j.status WHEN 'processing' THEN 1 ELSE 0 END
   AND NOT (j.finished_at IS NOT NULL AND j.attempt = coalesce(a.counted, 0) + 1 AND a.given_back > 0)
