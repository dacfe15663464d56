-- READS ONLY
-- The endpoints of webhooks, those in trouble first, and how many messages wait for each. One that was
-- disabled receives events again after generation-worker webhook enable ID
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT e.id, e.url, e.user_id, array_to_string(e.events, ' ') AS events, e.failing_since, e.disabled_at, e.disabled_for,
       (SELECT count(*) FROM webhook_delivery d WHERE d.endpoint_id = e.id AND d.status = 'pending') AS waiting
  FROM webhook_endpoint e
 ORDER BY e.disabled_at IS NULL, e.failing_since IS NULL, e.id;
