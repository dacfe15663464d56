-- What people and keys have changed, the latest first, from a number on. Actors, actions and targets by how they begin.
-- Looks at a bounded number of events, if there is a cap.
SELECT id, at, actor, action, target, reason, before, after
  FROM (SELECT * FROM audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s::bigint) AS latest
 WHERE (%(actor)s::text IS NULL OR starts_with(actor, %(actor)s))
   AND (%(action)s::text IS NULL OR starts_with(action, %(action)s))
   AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY id DESC LIMIT %(limit)s
