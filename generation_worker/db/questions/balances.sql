-- The accounts whose users begin so, in the order of their users' bytes, from a user on. Whatever order the database has for
-- texts, in this one those that begin alike stand together, and no more of the index is read than a page.
SELECT user_id, balance, entries, fair_weight, created_at
  FROM credit_account
 WHERE user_id ~>=~ %(beginning)s AND user_id ~<~ %(end)s AND user_id ~>~ %(after)s
 ORDER BY user_id USING ~<~ LIMIT %(limit)s
