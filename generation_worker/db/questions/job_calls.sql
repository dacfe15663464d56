-- What a job asked of providers. A call without an end is one whose answer is awaited, or was lost.
SELECT number, provider, key_label, model, provider_ref, started_at, finished_at, milliseconds, spent, usage, error_code
  FROM provider_call WHERE job_id = %(id)s ORDER BY number
