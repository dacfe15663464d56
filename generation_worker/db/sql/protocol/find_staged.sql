-- The image that an earlier attempt at the job has paid for and could not store.
SELECT bytes AS data, provider, model FROM generation.staged_image WHERE job_id = %(job_id)s
