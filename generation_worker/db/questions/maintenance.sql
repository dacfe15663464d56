-- The tasks of maintenance: how long ago each was done to its end, whether the last run failed, and what it found.
SELECT name, extract(epoch FROM statement_timestamp() - last_ok_at)::float8 AS seconds, last_error, found
  FROM maintenance_task ORDER BY name
