-- What a list shows of jobs beside their columns: how their prompts begin, who holds them, whether there are images, and the
-- places of those that are near the head of their lanes. Each job is looked up by itself (LIMIT 1), since a planner that
-- joins many at once may go through the whole table for them.
WITH glance AS MATERIALIZED (
  SELECT j.id, j.provider, j.status, j.held, j.locked_by AS worker, left(j.payload ->> 'prompt', 500) AS prompt,
         CASE WHEN pg_column_size(j.payload) < 8000 THEN j.payload -> 'inputs' END AS inputs,
         CASE j.kind WHEN 'image_processing'
              THEN jsonb_path_query_array(j.payload, '$.operations[*].type') END AS operations,
         CASE jsonb_typeof(j.result -> 'images') WHEN 'array'
              THEN jsonb_array_length(j.result -> 'images') ELSE 0 END AS images
    FROM unnest(%(ids)s::uuid[]) AS asked (id)
    CROSS JOIN LATERAL (SELECT g.* FROM generation_job g WHERE g.id = asked.id LIMIT 1) AS j
), line AS MATERIALIZED (
  SELECT head.id, head.place FROM (SELECT DISTINCT provider FROM glance WHERE status = 'pending') AS lane
    CROSS JOIN LATERAL (
      SELECT h.id, row_number() OVER (ORDER BY h.priority, h.position, h.id) - 1 AS place FROM (
        SELECT j.id, j.priority, j.position FROM generation_job j
         WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.held
         ORDER BY j.priority, j.position, j.id LIMIT %(head)s) AS h) AS head
)
SELECT glance.id, glance.held, glance.worker, glance.prompt, glance.inputs, glance.operations, glance.images, line.place
  FROM glance LEFT JOIN line USING (id)
