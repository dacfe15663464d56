-- Counts one request of a key: 0 if it may go on, else in how many seconds one may. next_at is when the key's requests
-- would be over if they came evenly (GCRA); it may lie up to a burst ahead. The row is looked at under its lock, so the
-- fleet never lets in more than that together.
WITH drawn AS (
  INSERT INTO api_token_pace AS p (token_id, next_at)
  VALUES (%(id)s, clock_timestamp() + make_interval(secs => %(gap)s))
  ON CONFLICT (token_id) DO UPDATE
     SET next_at = greatest(p.next_at, clock_timestamp()) + make_interval(secs => %(gap)s)
   WHERE p.next_at <= clock_timestamp() + make_interval(secs => %(ahead)s)
  RETURNING 0::float8 AS wait
)
SELECT coalesce(
  (SELECT wait FROM drawn),
  (SELECT greatest(extract(epoch FROM next_at - clock_timestamp())::float8 - %(ahead)s, 0.001)
     FROM api_token_pace WHERE token_id = %(id)s),
  %(gap)s::float8) AS wait
