-- The image is stored: should the worker die before it can say so, the next attempt finds it in the storage.
DELETE FROM generation.staged_image WHERE job_id = %(job_id)s
