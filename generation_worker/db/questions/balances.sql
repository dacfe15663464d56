-- The accounts in the order of their users, from a user on.
SELECT user_id, balance, entries, fair_weight, created_at
  FROM credit_account WHERE user_id > %(after)s ORDER BY user_id LIMIT %(limit)s
