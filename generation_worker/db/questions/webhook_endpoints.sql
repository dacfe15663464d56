-- The endpoints that are told of events, and how it goes: the troubled ones first. What is counted is counted up to a thousand.
SELECT e.id, e.url, e.events, e.user_id,
       CASE WHEN e.disabled_at IS NOT NULL THEN 'disabled' WHEN e.failing_since IS NOT NULL THEN 'failing'
            WHEN e.closed_until > statement_timestamp() THEN 'resting' ELSE 'ok' END AS state,
       coalesce(e.disabled_for, (SELECT d.last_error FROM webhook_delivery d
         WHERE d.endpoint_id = e.id AND e.failing_since IS NOT NULL AND d.status <> 'delivered' AND d.last_error IS NOT NULL
         ORDER BY d.created_at DESC LIMIT 1)) AS reason,
       coalesce(e.disabled_at, e.failing_since) AS since,
       (SELECT count(*) FROM (SELECT FROM webhook_delivery d WHERE d.endpoint_id = e.id AND d.status = 'pending' LIMIT 1000) p) AS waiting,
       (SELECT count(*) FROM (SELECT FROM webhook_delivery d WHERE d.endpoint_id = e.id AND d.status = 'dead' LIMIT 1000) x) AS dead,
       e.created_at, e.created_by, CASE WHEN e.old_secret_until > statement_timestamp() THEN e.old_secret_until END AS old_secret_until
  FROM webhook_endpoint e
 WHERE (%(endpoint)s::uuid IS NULL OR e.id = %(endpoint)s::uuid) AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
   AND (%(after)s::uuid IS NULL OR e.id > %(after)s::uuid)
 ORDER BY CASE WHEN %(troubled_first)s THEN e.disabled_at IS NULL END, CASE WHEN %(troubled_first)s THEN e.failing_since IS NULL END, e.id
 LIMIT %(limit)s
