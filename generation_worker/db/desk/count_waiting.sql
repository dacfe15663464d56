-- How many jobs of a user wait, up to a cap.
SELECT count(*) AS waiting FROM (
  SELECT FROM generation_job
   WHERE user_id = %(user)s AND status IN ('pending', 'scheduled', 'rate_limited') LIMIT %(cap)s) AS counted
