-- Why jobs failed lately: each code with its latest example. Looks at a bounded number of final jobs, the latest ones.
WITH latest AS MATERIALIZED (
  SELECT id, status, error_code, error_message, finished_at FROM generation_job
   WHERE finished_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY finished_at DESC LIMIT %(cap)s
)
SELECT error_code AS code, count(*) AS jobs, max(finished_at) AS last_at,
       (array_agg(id ORDER BY finished_at DESC))[1] AS example,
       (array_agg(error_message ORDER BY finished_at DESC))[1] AS message
  FROM latest WHERE status = 'failed'
 GROUP BY error_code ORDER BY count(*) DESC, error_code
