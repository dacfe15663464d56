-- A row is an account, or the moment after an entry, in which a user owed us credits. The tables have a CHECK against
-- it: it was taken away. Put it back (NOT VALID first), and settle the account with an adjustment.
SELECT user_id, NULL AS seq, balance FROM credit_account WHERE balance < 0
UNION ALL
SELECT user_id, seq, balance_after FROM credit_entry WHERE balance_after < 0
