-- The last fence before money is spent: records the call, if the attempt still holds its lease, nobody asked to cancel and
-- the job may pay for another call. A call whose answer is unknown counts as paid.
WITH job AS MATERIALIZED (
  SELECT id, cancel_requested_at IS NOT NULL AS cancel_requested FROM generation_job
   WHERE id = %(job_id)s AND lease_token = %(token)s AND status = 'processing'
     FOR NO KEY UPDATE
), past AS (
  SELECT count(*) AS calls, count(*) FILTER (WHERE spent IS DISTINCT FROM false) AS paid
    FROM provider_call WHERE job_id = %(job_id)s
), begun AS (
  INSERT INTO provider_call (job_id, number, lease_token, provider, key_label)
  SELECT job.id, past.calls + 1, %(token)s, %(provider)s, %(key_label)s
    FROM job, past WHERE NOT job.cancel_requested AND past.paid < %(max_paid_calls)s
  RETURNING number
)
SELECT job.cancel_requested, past.paid, (SELECT number FROM begun) AS number FROM job, past
