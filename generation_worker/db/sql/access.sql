-- Access: API keys, and the dashboard's sessions.

-- name: create_token
INSERT INTO generation.api_token (id, name, secret_hash, scopes, user_id, requests_per_minute, most_waiting, max_body_kb,
                                  created_by, expires_at)
VALUES (%(id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(user)s, %(requests_per_minute)s, %(most_waiting)s, %(max_body_kb)s,
        %(by)s, statement_timestamp() + make_interval(secs => %(lasts)s))

-- name: show_token
-- One key, without its secret's hash.
SELECT id, name, scopes, user_id, requests_per_minute, most_waiting, max_body_kb, created_at, created_by, expires_at,
       revoked_at, last_used_at,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
            WHEN expires_at <= statement_timestamp() THEN 'expired' ELSE 'active' END AS state
  FROM generation.api_token
 WHERE id = %(id)s

-- name: list_tokens
-- Keys without their secrets' hashes, the latest first, a page at a time; of one user, or only those that are valid.
SELECT id, name, scopes, user_id, requests_per_minute, most_waiting, max_body_kb, created_at, created_by, expires_at,
       revoked_at, last_used_at,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
            WHEN expires_at <= statement_timestamp() THEN 'expired' ELSE 'active' END AS state
  FROM generation.api_token
 WHERE (%(before)s::text IS NULL
        OR (created_at, id) < ((SELECT b.created_at FROM generation.api_token b WHERE b.id = %(before)s::text), %(before)s::text))
   AND (%(user)s::text IS NULL OR user_id = %(user)s::text)
   AND (NOT %(active)s OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp()))
 ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint

-- name: revoke_token
-- Revokes a key that is not revoked yet.
UPDATE generation.api_token SET revoked_at = clock_timestamp() WHERE id = %(id)s AND revoked_at IS NULL

-- name: find_token
-- A key by its public part, whether it is valid, and whether its last use has to be recorded.
SELECT id, name, secret_hash, scopes, user_id, requests_per_minute, most_waiting, max_body_kb,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp()) AS usable,
       last_used_at IS NULL OR last_used_at < statement_timestamp() - interval '1 minute' AS use_unrecorded
  FROM generation.api_token WHERE id = %(id)s

-- name: has_tokens
-- Whether any key was ever made. Revoked and expired keys count: revoking the last one must not open the API.
SELECT EXISTS (SELECT FROM generation.api_token) AS found

-- name: draw_request
-- Counts one request of a key: 0 if it may go on, else the seconds until one may. next_at is the time at which the key's
-- requests would be over if they came evenly (GCRA); it may lie up to a burst ahead. The row is checked under its lock, so
-- all processes of the fleet together accept no more than that.
WITH drawn AS (
  INSERT INTO generation.api_token_pace AS p (token_id, next_at)
  VALUES (%(id)s, clock_timestamp() + make_interval(secs => %(gap)s))
  ON CONFLICT (token_id) DO UPDATE
     SET next_at = greatest(p.next_at, clock_timestamp()) + make_interval(secs => %(gap)s)
   WHERE p.next_at <= clock_timestamp() + make_interval(secs => %(ahead)s)
  RETURNING 0::float8 AS wait
)
SELECT coalesce(
  (SELECT wait FROM drawn),
  (SELECT greatest(extract(epoch FROM next_at - clock_timestamp())::float8 - %(ahead)s, 0.001)
     FROM generation.api_token_pace WHERE token_id = %(id)s),
  %(gap)s::float8) AS wait

-- name: note_use
-- Records when a key was last used, at most once a minute however many requests come at once.
UPDATE generation.api_token SET last_used_at = clock_timestamp()
 WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')

-- name: gone_callers
-- Which of these callers would be refused now: their key was revoked or has expired, or they had none and now there are
-- keys.
SELECT c.name FROM unnest(%(names)s::text[]) AS c (name)
  LEFT JOIN generation.api_token t ON t.id = split_part(c.name, ':', 2)
 WHERE CASE split_part(c.name, ':', 1)
         WHEN 'key' THEN t.id IS NULL OR t.revoked_at IS NOT NULL OR t.expires_at <= statement_timestamp()
         WHEN 'loopback' THEN EXISTS (SELECT FROM generation.api_token)
         ELSE false END

-- name: open_session
INSERT INTO generation.dashboard_session (id_hash, token_id, expires_at)
VALUES (%(id_hash)s, %(token)s, clock_timestamp() + make_interval(secs => %(lasts)s))

-- name: find_session
-- The key with which a session was opened, unless the session has expired.
SELECT token_id FROM generation.dashboard_session WHERE id_hash = %(id_hash)s AND expires_at > statement_timestamp()

-- name: close_session
DELETE FROM generation.dashboard_session WHERE id_hash = %(id_hash)s RETURNING token_id

-- name: delete_expired_sessions
-- Deletes a bounded number of them.
DELETE FROM generation.dashboard_session WHERE id_hash IN (
  SELECT id_hash FROM generation.dashboard_session WHERE expires_at < statement_timestamp() ORDER BY expires_at LIMIT 100)
