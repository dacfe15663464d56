-- The audit trail: what people and keys have changed.

-- name: audit_events
-- What people and keys have changed, the latest first, from a number on. Actors, actions and targets by how they begin.
-- Looks at a bounded number of events, if there is a cap.
SELECT id, at, actor, action, target, reason, before, after
  FROM (SELECT * FROM generation.audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s::bigint) AS latest
 WHERE (%(actor)s::text IS NULL OR starts_with(actor, %(actor)s))
   AND (%(action)s::text IS NULL OR starts_with(action, %(action)s))
   AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY id DESC LIMIT %(limit)s

-- name: audit_reach
-- How far back one look at so many events from a number on reaches, and whether there are any before it.
WITH looked AS MATERIALIZED (
  SELECT id, at FROM generation.audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s
)
SELECT id, at, EXISTS (SELECT FROM generation.audit_event e WHERE e.id < looked.id) AS more FROM looked ORDER BY id LIMIT 1

-- name: record_change
-- Without an actor: the role that is connected.
INSERT INTO generation.audit_event (actor, action, target, reason, before, after)
VALUES (coalesce(%(actor)s, 'sql:' || session_user), %(action)s, %(target)s, %(reason)s, %(before)s::jsonb, %(after)s::jsonb)
