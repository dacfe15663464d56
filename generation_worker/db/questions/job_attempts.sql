-- How the attempts of a job ended, in their order.
SELECT attempt, worker, started_at, ended_at, extract(epoch FROM ended_at - started_at)::float8 AS seconds, outcome,
       error_code, error_message
  FROM job_attempt WHERE job_id = %(id)s ORDER BY started_at, ended_at
