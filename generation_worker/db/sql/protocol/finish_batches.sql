-- Writes the deliveries of batches whose last job has ended. Each job that ends leaves a row in its transaction, so a worker
-- that looks after the last of these sees all of the batch final; of two that look at once, one writes the delivery.
-- For an endpoint of one user the batch is that user's part of it.
WITH ended AS (
  DELETE FROM generation.webhook_batch WHERE id IN (SELECT id FROM generation.webhook_batch ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
  RETURNING batch_id
), finished AS (
  SELECT e.id AS endpoint_id, j.batch_id, count(*) AS jobs, count(*) FILTER (WHERE j.status = 'completed') AS completed,
         count(*) FILTER (WHERE j.status = 'failed') AS failed, count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled,
         CASE WHEN min(j.user_id) = max(j.user_id) THEN min(j.user_id) END AS user_id, max(j.finished_at) AS finished_at
    FROM (SELECT DISTINCT batch_id FROM ended) b
    JOIN generation.generation_job j USING (batch_id)
    JOIN generation.webhook_endpoint e ON e.disabled_at IS NULL AND 'batch.finished' = ANY (e.events)
                           AND (e.user_id IS NULL OR e.user_id = j.user_id)
   GROUP BY e.id, j.batch_id
  HAVING bool_and(j.finished_at IS NOT NULL)
)
INSERT INTO generation.webhook_delivery (endpoint_id, event, batch_id, body)
SELECT endpoint_id, 'batch.finished', batch_id, generation.webhook_body('batch.finished', finished_at, jsonb_build_object(
         'batch_id', batch_id, 'user_id', user_id, 'jobs', jobs, 'completed', completed, 'failed', failed,
         'cancelled', cancelled, 'finished_at', generation.webhook_moment(finished_at)))
  FROM finished
ON CONFLICT (batch_id, endpoint_id) WHERE batch_id IS NOT NULL DO NOTHING
