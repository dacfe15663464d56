-- The entries of one account, the latest first, from a number on.
SELECT seq, kind, amount, balance_after, job_id, refund_of, idempotency_key, reason, actor, created_at
  FROM credit_entry WHERE user_id = %(user)s AND seq < %(before)s ORDER BY seq DESC LIMIT %(limit)s
