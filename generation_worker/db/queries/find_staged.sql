-- The image that an earlier attempt at the job has paid for and could not store.
SELECT bytes, provider, model FROM staged_image WHERE job_id = %(job_id)s
