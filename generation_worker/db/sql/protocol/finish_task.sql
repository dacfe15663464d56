-- Records how a maintenance task went; a task whose last_ok_at grows old is a reason for an alarm.
UPDATE generation.maintenance_task
   SET last_ok_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() ELSE last_ok_at END, last_error = %(error)s
 WHERE name = %(name)s
