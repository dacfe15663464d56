-- READS ONLY
-- The latest messages that did not arrive at endpoints (50 unless you say otherwise: psql -v limit=200 …), why, and
-- when they are tried again, if they are. Send one once more with generation-worker webhook replay ID
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?limit}
\else
  \set limit 50
\endif
SELECT d.id, d.endpoint_id, d.event, d.job_id, d.status, d.attempts, d.created_at,
       CASE d.status WHEN 'pending' THEN d.next_at END AS next_try, d.last_status, d.last_error
  FROM webhook_delivery d
 WHERE d.status <> 'delivered' AND d.last_error IS NOT NULL
 ORDER BY d.created_at DESC, d.id DESC
 LIMIT :limit;
