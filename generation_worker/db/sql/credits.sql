-- Credits: accounts and their entries. The changes are functions, which apps call too.

-- name: account
-- One user's account, and what their waiting jobs will cost.
SELECT a.user_id, a.balance, a.entries, a.fair_weight, a.created_at,
       (SELECT coalesce(sum(j.cost), 0)::bigint FROM generation.generation_job j
         WHERE j.user_id = a.user_id AND j.status IN ('pending', 'scheduled', 'rate_limited')
           AND NOT j.debited) AS waiting
  FROM generation.credit_account a WHERE a.user_id = %(user)s

-- name: account_entries
-- Entries of one account before a number, the latest first.
SELECT seq, kind, amount, balance_after, job_id, refund_of, idempotency_key, reason, actor, created_at
  FROM generation.credit_entry WHERE user_id = %(user)s AND seq < %(before)s ORDER BY seq DESC LIMIT %(limit)s

-- name: balances
-- Accounts by a prefix of their users' ids, in the order of the ids' bytes, behind a user. Whatever collation the database
-- has, in this order ids with the same prefix are neighbours, and no more of the index is read than a page.
SELECT user_id, balance, entries, fair_weight, created_at
  FROM generation.credit_account
 WHERE user_id ~>=~ %(beginning)s AND user_id ~<~ %(end)s AND user_id ~>~ %(after)s
 ORDER BY user_id USING ~<~ LIMIT %(limit)s

-- name: grant_credits
-- Gives a user credits, once for each key.
SELECT entry, balance, duplicate FROM generation.grant_credits(%(user)s, %(amount)s, %(key)s, %(reason)s, %(actor)s)

-- name: adjust_credits
-- Corrects a balance, up or down.
SELECT entry, balance, duplicate FROM generation.adjust_credits(%(user)s, %(amount)s, %(key)s, %(reason)s, %(actor)s)
