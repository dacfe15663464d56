-- The last fence before money is spent: records the call, if the attempt still holds its lease, nobody asked to cancel and
-- the job may pay for another call. A call whose answer is unknown counts as paid.
--
-- If the provider still keeps the answer to an earlier call, that call is named instead, with the provider's id, and none is
-- begun: it costs nothing, so the bound is not asked.
WITH job AS MATERIALIZED (
  SELECT id, cancel_requested_at IS NOT NULL AS cancel_requested FROM generation_job
   WHERE id = %(job_id)s AND lease_token = %(token)s AND status = 'processing'
     FOR NO KEY UPDATE
), past AS (
  SELECT count(*) AS calls, count(*) FILTER (WHERE spent IS DISTINCT FROM false) AS paid
    FROM provider_call WHERE job_id = %(job_id)s
), kept AS (
  SELECT number, provider_ref FROM provider_call
   WHERE job_id = %(job_id)s AND provider = %(provider)s AND resumable
   ORDER BY number DESC LIMIT 1
), begun AS (
  INSERT INTO provider_call (job_id, number, lease_token, provider, key_label)
  SELECT job.id, past.calls + 1, %(token)s, %(provider)s, %(key_label)s
    FROM job, past
   WHERE NOT job.cancel_requested AND past.paid < %(max_paid_calls)s AND NOT EXISTS (SELECT FROM kept)
  RETURNING number
)
SELECT job.cancel_requested, past.paid, coalesce(kept.number, (SELECT number FROM begun)) AS number, kept.provider_ref AS resume
  FROM job CROSS JOIN past LEFT JOIN kept ON NOT job.cancel_requested
