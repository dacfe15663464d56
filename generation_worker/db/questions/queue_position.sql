-- How many jobs stand before a pending one in its lane, up to a cap; no row if it does not wait in line.
SELECT (SELECT count(*) FROM (
          SELECT FROM generation_job b
           WHERE b.status = 'pending' AND b.provider = j.provider AND NOT b.held
             AND (b.priority, b.position, b.id) < (j.priority, j.position, j.id)
           LIMIT %(cap)s) AS before) AS position
  FROM generation_job j WHERE j.id = %(id)s AND j.status = 'pending'
