-- A row is a refund that went to another account than was charged, for another job or amount, or before the charge. It
-- holds for jobs that have been pruned too. Correct both accounts with adjustments.
SELECT r.job_id, r.user_id, r.seq, r.amount, r.refund_of, d.job_id AS job_of_debit, d.amount AS debit
  FROM credit_entry r
  LEFT JOIN credit_entry d ON d.user_id = r.user_id AND d.seq = r.refund_of AND d.kind = 'debit'
 WHERE r.kind = 'refund' AND (d.job_id, -d.amount, d.seq < r.seq) IS DISTINCT FROM (r.job_id, r.amount, true)
