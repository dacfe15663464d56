-- The audit trail: what people and keys have changed.

-- name: record_change
-- Without an actor: the role that is connected.
INSERT INTO generation.audit_event (actor, action, target, reason, before, after)
VALUES (coalesce(%(actor)s, 'sql:' || session_user), %(action)s, %(target)s, %(reason)s, %(before)s::jsonb, %(after)s::jsonb)

-- name: list_events
-- Events before a number, the latest first, by prefixes of actor, action and target. With a cap, only so many are read.
SELECT id, at, actor, action, target, reason, before, after
  FROM (SELECT * FROM generation.audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s::bigint) AS latest
 WHERE (%(actor)s::text IS NULL OR starts_with(actor, %(actor)s))
   AND (%(action)s::text IS NULL OR starts_with(action, %(action)s))
   AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY id DESC LIMIT %(limit)s

-- name: find_scan_end
-- The earliest of so many events before a number, and whether there are any before it.
WITH scanned AS MATERIALIZED (
  SELECT id, at FROM generation.audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s
)
SELECT id, at, EXISTS (SELECT FROM generation.audit_event e WHERE e.id < scanned.id) AS more
  FROM scanned ORDER BY id LIMIT 1
