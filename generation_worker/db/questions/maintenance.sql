-- The tasks of maintenance: how long ago each was done to its end, whether the last run failed, what it found, and for how
-- long it has been due without anybody beginning.
SELECT name, extract(epoch FROM statement_timestamp() - last_ok_at)::float8 AS seconds, last_error, found,
       greatest(extract(epoch FROM statement_timestamp() - next_at), 0)::float8 AS overdue
  FROM maintenance_task ORDER BY name
