-- When a key was used last, at most once a minute however many ask at once.
UPDATE api_token SET last_used_at = clock_timestamp()
 WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
