-- Records what came of a call. Not fenced: what was paid is true whoever holds the lease now.
--
-- A call is finished once. Only one whose answer the provider keeps may be asked for again, and end otherwise (the answer is
-- gone, or is no image); what is known of its price and its time stays.
UPDATE provider_call
   SET finished_at = coalesce(finished_at, clock_timestamp()), milliseconds = coalesce(milliseconds, %(milliseconds)s),
       spent = CASE WHEN spent THEN true ELSE %(spent)s END, model = coalesce(%(model)s, model),
       provider_ref = coalesce(%(provider_ref)s, provider_ref), usage = coalesce(%(usage)s::jsonb, usage),
       error_code = %(error_code)s, resumable = resumable AND %(error_code)s::text IS NULL
 WHERE job_id = %(job_id)s AND number = %(number)s AND (finished_at IS NULL OR resumable)
