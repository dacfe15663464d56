-- Records what came of a call. Not fenced: what was paid is true whoever holds the lease now.
UPDATE provider_call
   SET finished_at = clock_timestamp(), milliseconds = %(milliseconds)s, spent = %(spent)s, model = %(model)s,
       provider_ref = %(provider_ref)s, usage = %(usage)s::jsonb, error_code = %(error_code)s
 WHERE job_id = %(job_id)s AND number = %(number)s AND finished_at IS NULL
