-- Whether there has ever been a key. Keys that are revoked or expired count: to revoke the last one must open nothing.
SELECT EXISTS (SELECT FROM api_token) AS found
