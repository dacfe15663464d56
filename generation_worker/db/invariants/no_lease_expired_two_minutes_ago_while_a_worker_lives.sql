-- A row is a job whose worker fell silent more than two minutes ago and that nobody has taken over, although a worker
-- has been running and reporting all that time. See the task «reclaim» in maintenance_task: its last_ok_at and
-- last_error. After the database itself was away, ask again a minute later.
SELECT id AS job_id, locked_by, lease_expires_at, now() - lease_expires_at AS expired_for
  FROM generation_job
 WHERE status = 'processing' AND lease_expires_at < now() - interval '2 minutes'
   AND EXISTS (SELECT FROM worker_process
                WHERE seen_at > now() - interval '1 minute' AND started_at < now() - interval '2 minutes')
