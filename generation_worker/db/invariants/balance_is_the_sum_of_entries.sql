-- A row is an account whose balance is not what its entries add up to, or entries without an account. Somebody has
-- changed one of the two by hand. The entries are the books: find out who changed what, then set the balance to the
-- sum.
SELECT user_id, a.balance, e.total AS sum_of_entries
  FROM credit_account a
  FULL JOIN (SELECT user_id, sum(amount) AS total FROM credit_entry GROUP BY user_id) e USING (user_id)
 WHERE a.balance IS DISTINCT FROM coalesce(e.total, 0)
