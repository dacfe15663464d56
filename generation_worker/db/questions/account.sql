-- One user's account, and what their waiting jobs will cost.
SELECT a.user_id, a.balance, a.entries, a.fair_weight, a.created_at,
       (SELECT coalesce(sum(j.cost), 0)::bigint FROM generation_job j
         WHERE j.user_id = a.user_id AND j.status IN ('pending', 'scheduled', 'rate_limited')
           AND NOT j.debited) AS waiting
  FROM credit_account a WHERE a.user_id = %(user)s
