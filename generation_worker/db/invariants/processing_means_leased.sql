-- A row is a job that is processing without a whole lease, so that no worker can settle or reclaim it, or that has a
-- lease without being processing. The table has a CHECK against it: it was taken away. Put it back; to free a job that
-- hangs, set all four columns with lease_expires_at in the past, and it is reclaimed.
SELECT id AS job_id, status, lease_token, locked_by, locked_at, lease_expires_at
  FROM generation_job
 WHERE num_nulls(lease_token, locked_by, locked_at, lease_expires_at) <> CASE status WHEN 'processing' THEN 0 ELSE 4 END
