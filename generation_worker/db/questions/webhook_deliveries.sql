-- Messages, the latest first, with what came of their last try. state: pending, delivered or dead; failed: all those whose last
-- try went wrong, whether another one follows or not.
SELECT d.id, d.endpoint_id, d.event, d.job_id, d.batch_id, d.status, d.attempts,
       CASE d.status WHEN 'pending' THEN d.next_at END AS next_at, d.last_status, d.last_error, d.created_at, d.finished_at
  FROM webhook_delivery d
 WHERE (%(delivery)s::uuid IS NULL OR d.id = %(delivery)s::uuid)
   AND (%(endpoint)s::uuid IS NULL OR d.endpoint_id = %(endpoint)s::uuid)
   AND (%(job)s::uuid IS NULL OR d.job_id = %(job)s::uuid)
   AND (%(state)s::text IS NULL OR d.status = %(state)s)
   AND (NOT %(failed)s OR d.status <> 'delivered' AND d.last_error IS NOT NULL)
   AND (%(user_id)s::text IS NULL OR d.endpoint_id IN (SELECT e.id FROM webhook_endpoint e WHERE e.user_id = %(user_id)s))
   AND (%(before)s::timestamptz IS NULL OR (d.created_at, d.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
 ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s
