-- The jobs that a claim would look at, asked when it failed, to find out over which of them it did. Paused and held ones may
-- be among them: they are not at fault then.
WITH lane AS (
  SELECT * FROM unnest(%(providers)s::text[], %(priorities)s::int[], %(positions)s::timestamptz[], %(ids)s::uuid[])
    AS lane (provider, priority, position, id)
)
SELECT job.id::text, job.traceparent FROM lane CROSS JOIN LATERAL (
  SELECT j.id, j.traceparent FROM generation.generation_job j
   WHERE j.status = 'pending' AND j.provider = lane.provider AND j.id <> ALL (%(left_out)s::uuid[])
     AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)
   ORDER BY j.priority, j.position, j.id LIMIT %(limit)s) job
UNION
SELECT job.id::text, job.traceparent FROM lane CROSS JOIN LATERAL (
  SELECT j.id, j.traceparent FROM generation.generation_job j
   WHERE j.status = 'pending' AND j.provider = lane.provider AND j.has_answer AND j.id <> ALL (%(left_out)s::uuid[])
   ORDER BY j.priority, j.position, j.id LIMIT %(limit)s) job
