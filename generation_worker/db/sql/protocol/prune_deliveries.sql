-- Deletes deliveries that ended long ago, those whose endpoint is gone, and what was left by batches that nobody asks for.
WITH old AS MATERIALIZED (
  SELECT d.id FROM generation.webhook_delivery d
   WHERE d.created_at < statement_timestamp() - make_interval(secs => %(retention)s)
     AND (d.status <> 'pending' OR NOT EXISTS (SELECT FROM generation.webhook_endpoint e WHERE e.id = d.endpoint_id))
   ORDER BY d.created_at LIMIT %(limit)s
     FOR UPDATE SKIP LOCKED
), batches AS (
  DELETE FROM generation.webhook_batch WHERE at < statement_timestamp() - interval '1 day'
)
DELETE FROM generation.webhook_delivery d USING old WHERE d.id = old.id
