-- A row is a job that was worked on without being paid for, or was charged without being marked so, or for another
-- amount or from another account. Grant the user back what was charged too much; what was charged too little is our
-- loss.
SELECT j.id AS job_id, j.user_id, j.status, j.cost, j.debited, d.debits, d.charged, d.payer
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS debits, -sum(amount) AS charged, min(user_id) AS payer
               FROM credit_entry WHERE kind = 'debit' GROUP BY job_id) d ON d.job_id = j.id
 WHERE CASE WHEN j.debited OR j.started_at IS NOT NULL AND j.cost > 0
         THEN (d.debits, d.charged, d.payer, j.debited) IS DISTINCT FROM (1::bigint, j.cost::numeric, j.user_id, true)
         ELSE d.debits IS NOT NULL END
