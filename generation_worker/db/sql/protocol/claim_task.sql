-- Takes one maintenance task that is due; while it is worked on nobody else finds it due. There is no leader to lose:
-- if this worker dies, the task is due again one interval later.
WITH due AS MATERIALIZED (
  SELECT name FROM generation.maintenance_task
   WHERE name = %(name)s AND next_at <= statement_timestamp()
     FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE generation.maintenance_task t
   SET next_at = clock_timestamp() + make_interval(secs => %(every)s)
  FROM due WHERE t.name = due.name
RETURNING t.name
