-- Keeps the provider's id of a call under way, before its answer is awaited: from here on a crash costs nothing. Not
-- fenced: what was begun is true regardless of who holds the lease now, and the next attempt can take it up. If the call has its end
-- already, the id is noted for comparison with the bill, and nothing is taken up.
UPDATE generation.provider_call SET provider_ref = %(provider_ref)s, resumable = resumable OR finished_at IS NULL
 WHERE job_id = %(job_id)s AND number = %(number)s
