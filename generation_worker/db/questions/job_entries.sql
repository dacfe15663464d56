-- What a job moved in its user's account.
SELECT user_id, seq, kind, amount, balance_after, reason, created_at
  FROM credit_entry WHERE job_id = %(id)s AND job_id IS NOT NULL ORDER BY seq
