-- The keys of the API without what would let anybody use one, the latest first, from a key on; of one user, or only those that
-- may be used.
SELECT id, name, scopes, user_id, requests_per_minute, most_waiting, max_body_kb, created_at, created_by, expires_at,
       revoked_at, last_used_at,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
            WHEN expires_at <= statement_timestamp() THEN 'expired' ELSE 'active' END AS state
  FROM api_token
 WHERE (%(before)s::text IS NULL
        OR (created_at, id) < ((SELECT b.created_at FROM api_token b WHERE b.id = %(before)s::text), %(before)s::text))
   AND (%(user)s::text IS NULL OR user_id = %(user)s::text)
   AND (NOT %(active)s OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp()))
 ORDER BY created_at DESC, id DESC LIMIT %(limit)s
