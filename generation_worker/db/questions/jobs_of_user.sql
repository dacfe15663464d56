-- One user's jobs in each state. Those that wait are counted up to a cap, each state along the index of what waits, whatever
-- statistics say of it; what ended is counted within the user's latest jobs that do not run, as many as the cap. exact: there
-- are no more.
WITH latest AS MATERIALIZED (
  SELECT status FROM generation_job WHERE user_id = %(user)s AND status <> 'processing'
   ORDER BY created_at DESC, id DESC LIMIT %(cap)s
), pending AS MATERIALIZED (
  SELECT FROM generation_job WHERE user_id = %(user)s AND status = 'pending' ORDER BY position LIMIT %(cap)s
), scheduled AS MATERIALIZED (
  SELECT FROM generation_job WHERE user_id = %(user)s AND status = 'scheduled' ORDER BY position LIMIT %(cap)s
), rate_limited AS MATERIALIZED (
  SELECT FROM generation_job WHERE user_id = %(user)s AND status = 'rate_limited' ORDER BY position LIMIT %(cap)s
)
SELECT 'pending' AS status, count(*) AS jobs, count(*) < %(cap)s AS exact FROM pending
UNION ALL SELECT 'scheduled', count(*), count(*) < %(cap)s FROM scheduled
UNION ALL SELECT 'rate_limited', count(*), count(*) < %(cap)s FROM rate_limited
UNION ALL SELECT 'processing', count(*), true FROM generation_job WHERE status = 'processing' AND user_id = %(user)s
UNION ALL
SELECT s.status, count(l.status), (SELECT count(*) FROM latest) < %(cap)s
  FROM unnest(ARRAY['completed', 'failed', 'cancelled']) AS s (status) LEFT JOIN latest l ON l.status = s.status
 GROUP BY s.status
