-- READS ONLY
-- Jobs whose lease has expired: their worker died or lost the database. While a worker lives this is empty within a
-- minute, as it takes them over. If it is not, start a worker; nothing else is needed, and no credits are lost.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT j.id, j.kind, j.user_id, j.provider, j.attempt, j.locked_by, j.lease_expires_at,
       date_trunc('second', now() - j.lease_expires_at) AS expired_for,
       w.seen_at AS worker_last_seen,
       (SELECT count(*) FROM worker_process o WHERE o.seen_at > now() - interval '2 minutes') AS workers_alive
  FROM generation_job j LEFT JOIN worker_process w ON w.id = j.locked_by
 WHERE j.status = 'processing' AND j.lease_expires_at < now()
 ORDER BY j.lease_expires_at;
