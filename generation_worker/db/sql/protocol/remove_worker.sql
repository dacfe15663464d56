-- The worker has left in good order.
DELETE FROM generation.worker_process WHERE id = %(worker)s
