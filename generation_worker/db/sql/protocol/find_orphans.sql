-- Which of these objects nobody will ask for: their job is over, and its result does not name them. A final job never
-- changes, so the answer stays true however late it is acted upon. What is not known is kept: an object without a job
-- may be the image of a job that was pruned, which the app still shows; and a result of another shape may name its
-- images in a way that is not understood here.
SELECT o.key
  FROM unnest(%(keys)s::text[], %(jobs)s::uuid[], %(modified)s::timestamptz[]) AS o (key, job_id, modified_at)
  JOIN generation.generation_job j ON j.id = o.job_id
 WHERE o.modified_at < statement_timestamp() - make_interval(secs => %(age)s)
   AND (j.status IN ('failed', 'cancelled')
        OR j.status = 'completed'
           AND j.result @? '$.images[*].key'
           AND NOT jsonb_path_exists(j.result, '$.** ? (@ == $key)', jsonb_build_object('key', o.key)))
