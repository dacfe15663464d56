-- A row is a completed job whose result does not name the key of each of its images, so that nobody can fetch what was
-- paid for. Look for the objects under the job's id in the storage. That an object is there for each key cannot be
-- asked here.
SELECT j.id AS job_id, j.user_id, j.result
  FROM generation_job j
 CROSS JOIN LATERAL (
   SELECT count(*) AS images,
          count(*) FILTER (WHERE jsonb_typeof(image->'key') = 'string' AND image->>'key' <> '') AS keys
     FROM jsonb_array_elements(
            CASE jsonb_typeof(j.result->'images') WHEN 'array' THEN j.result->'images' ELSE '[]' END) image
 ) named
 WHERE j.status = 'completed' AND (named.images = 0 OR named.keys < named.images)
