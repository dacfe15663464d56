-- A row is the end of a job, within the last week, of which an endpoint that is enabled is not told though it asked for
-- it, or a message of another end than the job has: the trigger «tell» was switched off, or messages were changed or
-- removed by hand. Let the app look at the job itself.
SELECT j.id AS job_id, j.status, e.id AS endpoint_id, d.event AS told
  FROM webhook_endpoint e
  JOIN generation_job j ON j.finished_at > greatest(e.enabled_since + interval '1 minute', now() - interval '7 days')
                       AND (e.user_id IS NULL OR e.user_id = j.user_id)
  LEFT JOIN webhook_delivery d ON d.endpoint_id = e.id AND d.job_id = j.id
 WHERE e.disabled_at IS NULL
   AND CASE WHEN 'job.' || j.status = ANY (e.events) THEN d.event IS DISTINCT FROM 'job.' || j.status
            ELSE d.id IS NOT NULL END
