-- A key by its public part, and whether it may be used.
SELECT id, name, secret_hash, scopes, user_id, requests_per_minute, most_waiting, max_body_kb,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp()) AS usable,
       last_used_at IS NULL OR last_used_at < statement_timestamp() - interval '1 minute' AS use_untold
  FROM api_token WHERE id = %(id)s
