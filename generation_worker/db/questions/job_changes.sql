-- What people and keys have changed about a job, in their order.
SELECT id, at, actor, action, target, reason, before, after FROM audit_event
 WHERE target = 'job:' || %(id)s::uuid ORDER BY id LIMIT %(limit)s
