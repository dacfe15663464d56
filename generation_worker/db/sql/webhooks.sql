-- Webhooks: endpoints and deliveries.

-- name: webhook_endpoints
-- The endpoints and their state, disabled and failing ones first. Deliveries are counted up to a thousand.
SELECT e.id, e.url, e.events, e.user_id,
       CASE WHEN e.disabled_at IS NOT NULL THEN 'disabled' WHEN e.failing_since IS NOT NULL THEN 'failing'
            WHEN e.closed_until > statement_timestamp() THEN 'resting' ELSE 'ok' END AS state,
       coalesce(e.disabled_for, (SELECT d.last_error FROM generation.webhook_delivery d
         WHERE d.endpoint_id = e.id AND e.failing_since IS NOT NULL AND d.status <> 'delivered' AND d.last_error IS NOT NULL
         ORDER BY d.created_at DESC LIMIT 1)) AS reason,
       coalesce(e.disabled_at, e.failing_since) AS since,
       (SELECT count(*) FROM (SELECT FROM generation.webhook_delivery d WHERE d.endpoint_id = e.id AND d.status = 'pending' LIMIT 1000) p) AS waiting,
       (SELECT count(*) FROM (SELECT FROM generation.webhook_delivery d WHERE d.endpoint_id = e.id AND d.status = 'dead' LIMIT 1000) x) AS dead,
       e.created_at, e.created_by, CASE WHEN e.old_secret_until > statement_timestamp() THEN e.old_secret_until END AS old_secret_until
  FROM generation.webhook_endpoint e
 WHERE (%(endpoint)s::uuid IS NULL OR e.id = %(endpoint)s::uuid) AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
   AND (%(after)s::uuid IS NULL OR e.id > %(after)s::uuid)
 ORDER BY CASE WHEN %(troubled_first)s THEN e.disabled_at IS NULL END, CASE WHEN %(troubled_first)s THEN e.failing_since IS NULL END, e.id
 LIMIT %(limit)s

-- name: webhook_deliveries
-- Messages, the latest first, with the result of their last try. state: pending, delivered or dead; failed: those whose last
-- try failed, whether another one follows or not.
SELECT d.id, d.endpoint_id, d.event, d.job_id, d.batch_id, d.status, d.attempts,
       CASE d.status WHEN 'pending' THEN d.next_at END AS next_at, d.last_status, d.last_error, d.created_at, d.finished_at
  FROM generation.webhook_delivery d
 WHERE (%(delivery)s::uuid IS NULL OR d.id = %(delivery)s::uuid)
   AND (%(endpoint)s::uuid IS NULL OR d.endpoint_id = %(endpoint)s::uuid)
   AND (%(job)s::uuid IS NULL OR d.job_id = %(job)s::uuid)
   AND (%(state)s::text IS NULL OR d.status = %(state)s)
   AND (NOT %(failed)s OR d.status <> 'delivered' AND d.last_error IS NOT NULL)
   AND (%(user_id)s::text IS NULL OR d.endpoint_id IN (SELECT e.id FROM generation.webhook_endpoint e WHERE e.user_id = %(user_id)s))
   AND (%(before)s::timestamptz IS NULL OR (d.created_at, d.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
 ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s

-- name: create_endpoint
-- Adds an endpoint.
INSERT INTO generation.webhook_endpoint (url, events, user_id, secret, created_by)
VALUES (%(url)s, %(events)s, %(user)s, %(secret)s, %(by)s) RETURNING id

-- name: lock_endpoint
-- An endpoint before a change, locked; no row if it belongs to another user than the given one.
SELECT id, url, events, user_id, disabled_at, disabled_for FROM generation.webhook_endpoint
 WHERE id = %(id)s AND (%(user)s::text IS NULL OR user_id = %(user)s) FOR NO KEY UPDATE

-- name: rotate_secret
-- A new secret; the old one signs as well for a while.
UPDATE generation.webhook_endpoint
   SET old_secret = secret, old_secret_until = clock_timestamp() + make_interval(secs => %(lasts)s), secret = %(secret)s
 WHERE id = %(id)s

-- name: disable_endpoint
UPDATE generation.webhook_endpoint SET disabled_at = clock_timestamp(), disabled_for = %(reason)s WHERE id = %(id)s

-- name: enable_endpoint
UPDATE generation.webhook_endpoint
   SET disabled_at = NULL, disabled_for = NULL, failing_since = NULL, closed_until = NULL,
       enabled_since = clock_timestamp()
 WHERE id = %(id)s

-- name: remove_endpoint
DELETE FROM generation.webhook_endpoint WHERE id = %(id)s

-- name: forget_deliveries
-- Deletes the pending deliveries of an endpoint.
DELETE FROM generation.webhook_delivery WHERE endpoint_id = %(id)s AND status = 'pending'

-- name: ping_endpoint
-- A delivery that tests an endpoint.
INSERT INTO generation.webhook_delivery (endpoint_id, event, body)
VALUES (%(id)s, %(event)s,
        generation.webhook_body(%(event)s, clock_timestamp(), jsonb_build_object('endpoint_id', %(id)s::uuid)))
RETURNING id

-- name: delivery_state
SELECT endpoint_id, status, attempts FROM generation.webhook_delivery WHERE id = %(id)s

-- name: replay_delivery
-- Makes a delivery due again, with all its tries.
UPDATE generation.webhook_delivery
   SET status = 'pending', attempts = 0, next_at = clock_timestamp(), lease_token = NULL, finished_at = NULL
 WHERE id = %(id)s

-- name: replay_deliveries
-- Makes the deliveries due again that were given up since a moment; not those of disabled endpoints.
UPDATE generation.webhook_delivery
   SET status = 'pending', attempts = 0, next_at = clock_timestamp(), lease_token = NULL, finished_at = NULL
 WHERE id IN (SELECT d.id FROM generation.webhook_delivery d
                JOIN generation.webhook_endpoint e ON e.id = d.endpoint_id AND e.disabled_at IS NULL
               WHERE d.status = 'dead' AND d.last_error IS NOT NULL AND d.created_at >= %(since)s
                 AND (%(endpoint)s::uuid IS NULL OR e.id = %(endpoint)s) AND (%(user)s::text IS NULL OR e.user_id = %(user)s)
               ORDER BY d.created_at LIMIT %(limit)s FOR NO KEY UPDATE OF d)
