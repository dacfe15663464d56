-- A row is an entry that does not follow from the one before it, or the end of an account that is not its last entry:
-- entries were changed or removed by hand, though they are append-only. Restore them from a backup; do not renumber.
SELECT user_id, seq, previous_seq, amount, previous_balance, balance_after
  FROM (SELECT user_id, seq, amount, balance_after,
               lag(seq, 1, 0::bigint) OVER account AS previous_seq,
               lag(balance_after, 1, 0::bigint) OVER account AS previous_balance
          FROM credit_entry WINDOW account AS (PARTITION BY user_id ORDER BY seq)) entry
 WHERE seq <> previous_seq + 1 OR balance_after <> previous_balance + amount
UNION ALL
SELECT a.user_id, a.entries, e.last, NULL, NULL, NULL
  FROM credit_account a
  LEFT JOIN (SELECT user_id, max(seq) AS last FROM credit_entry GROUP BY user_id) e USING (user_id)
 WHERE a.entries <> coalesce(e.last, 0)
