-- Which of these callers would not be let in any more: their key was revoked or has expired, or they had none and now
-- there are keys.
SELECT c.name FROM unnest(%(names)s::text[]) AS c (name)
  LEFT JOIN api_token t ON t.id = split_part(c.name, ':', 2)
 WHERE CASE split_part(c.name, ':', 1)
         WHEN 'key' THEN t.id IS NULL OR t.revoked_at IS NOT NULL OR t.expires_at <= statement_timestamp()
         WHEN 'loopback' THEN EXISTS (SELECT FROM api_token)
         ELSE false END
