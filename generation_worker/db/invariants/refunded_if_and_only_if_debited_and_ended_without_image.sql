-- A row is a job that has its credits back though it made an image or still runs (take them with an adjustment, or let
-- it be), or that ended without an image and has not (grant them): the trigger that refunds was switched off.
SELECT j.id AS job_id, j.user_id, j.status, j.debited, j.cost, coalesce(r.refunds, 0) AS refunds, r.refunded
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS refunds, sum(amount) AS refunded
               FROM credit_entry WHERE kind = 'refund' GROUP BY job_id) r ON r.job_id = j.id
 WHERE coalesce(r.refunds, 0) <> CASE WHEN j.debited AND j.status IN ('failed', 'cancelled') THEN 1 ELSE 0 END
