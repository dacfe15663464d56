-- READS ONLY
-- Each user's balance, what their waiting jobs will cost, and what they have spent and got back so far. Where `short`
-- is above zero, the last of those jobs will fail with insufficient_credits, unless somebody runs
-- generation-worker credits grant USER AMOUNT
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT a.user_id, a.balance, coalesce(w.waiting, 0) AS waiting_costs,
       greatest(coalesce(w.waiting, 0) - a.balance, 0) AS short,
       coalesce(-e.debited, 0) AS debited, coalesce(e.refunded, 0) AS refunded, a.fair_weight
  FROM credit_account a
  LEFT JOIN (SELECT user_id, sum(amount) FILTER (WHERE kind = 'debit') AS debited,
                    sum(amount) FILTER (WHERE kind = 'refund') AS refunded
               FROM credit_entry GROUP BY user_id) e USING (user_id)
  LEFT JOIN (SELECT user_id, sum(cost) AS waiting FROM generation_job
              WHERE status IN ('pending', 'scheduled', 'rate_limited') AND NOT debited
              GROUP BY user_id) w USING (user_id)
 ORDER BY a.balance, a.user_id;
