-- What people and keys have changed, the latest first, from a number on. Actors, actions and targets by how they begin.
SELECT id, at, actor, action, target, reason, before, after FROM audit_event
 WHERE id < %(before)s
   AND (%(actor)s::text IS NULL OR starts_with(actor, %(actor)s))
   AND (%(action)s::text IS NULL OR starts_with(action, %(action)s))
   AND (%(target)s::text IS NULL OR starts_with(target, %(target)s))
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
 ORDER BY id DESC LIMIT %(limit)s
