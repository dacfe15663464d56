-- The worker has left in good order.
DELETE FROM worker_process WHERE id = %(worker)s
