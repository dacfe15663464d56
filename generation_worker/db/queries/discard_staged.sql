-- The image is stored: should the worker die before it can say so, the next attempt finds it in the storage.
DELETE FROM staged_image WHERE job_id = %(job_id)s
