-- How far back one look at so many events from a number on reaches, and whether there are any before it.
WITH looked AS MATERIALIZED (
  SELECT id, at FROM audit_event WHERE id < %(before)s ORDER BY id DESC LIMIT %(cap)s
)
SELECT id, at, EXISTS (SELECT FROM audit_event e WHERE e.id < looked.id) AS more FROM looked ORDER BY id LIMIT 1
