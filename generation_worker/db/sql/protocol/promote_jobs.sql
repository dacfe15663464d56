-- Makes jobs pending whose time has come, and says in how many seconds the next one is due (null: none waits).
-- A job that never started gets its fair position now: a thousand jobs put off to one moment must not stand in front of
-- everybody else at that moment. One that has started keeps its old place, which is near the front.
WITH due AS MATERIALIZED (
  SELECT id, user_id, run_at, position, started_at, cost FROM generation.generation_job
   WHERE status IN ('scheduled', 'rate_limited') AND run_at <= statement_timestamp()
   ORDER BY run_at LIMIT %(limit)s
     FOR NO KEY UPDATE SKIP LOCKED
), line AS (
  SELECT user_id, generation.generation_line_end(user_id) AS free_at FROM (SELECT DISTINCT user_id FROM due) u
), placed AS (
  SELECT due.id, CASE WHEN started_at IS NOT NULL THEN due.position ELSE free_at
           + sum(generation.generation_length(cost, user_id)) FILTER (WHERE started_at IS NULL)
               OVER (PARTITION BY user_id ORDER BY run_at, due.position, id)
           - generation.generation_length(cost, user_id) END AS position
    FROM due JOIN line USING (user_id)
), promoted AS (
  UPDATE generation.generation_job j SET status = 'pending', position = placed.position
    FROM placed WHERE j.id = placed.id
  RETURNING j.id
)
SELECT (SELECT count(*) FROM promoted) AS promoted,
       (SELECT (extract(epoch FROM min(run_at)) - extract(epoch FROM clock_timestamp()))::float8 FROM generation.generation_job
         WHERE status IN ('scheduled', 'rate_limited') AND run_at > statement_timestamp()) AS next_due
