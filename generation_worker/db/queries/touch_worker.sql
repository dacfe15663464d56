-- Says that the worker lives, and what it is doing.
UPDATE worker_process
   SET seen_at = clock_timestamp(), concurrency = %(concurrency)s, busy = %(busy)s, stuck = %(stuck)s
 WHERE id = %(worker)s
