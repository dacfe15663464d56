-- The ledger's invariants: what must hold at any moment. Each query returns the rows that break one; its comment says what
-- such a row means and what to do about it. The names are public: `generation-worker credits audit` prints them.

-- name: attempts_are_in_the_history
-- A row is a job whose count of attempts differs from its history: the end of an attempt was not recorded, or was
-- recorded twice. Attempts that were rate limited or interrupted are given back and do not count; in a final job the
-- last of these may count, because the job ended with it.
SELECT j.id AS job_id, j.status, j.attempt, coalesce(a.counted, 0) AS counted_in_history, a.given_back
  FROM generation.generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome NOT IN ('rate_limited', 'released')) AS counted,
                    count(*) FILTER (WHERE outcome IN ('rate_limited', 'released')) AS given_back
               FROM generation.job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE j.attempt - coalesce(a.counted, 0) <> CASE j.status WHEN 'processing' THEN 1 ELSE 0 END
   AND NOT (j.finished_at IS NOT NULL AND j.attempt = coalesce(a.counted, 0) + 1 AND a.given_back > 0)
 LIMIT %(most)s

-- name: attempts_within_bounds
-- A row is a job with more attempts than its maximum, or that is processing without an attempt or without a maximum. A
-- CHECK of the table prevents the first: it was removed. Cancel the job.
SELECT id AS job_id, status, attempt, max_attempts
  FROM generation.generation_job
 WHERE attempt < 0 OR attempt > max_attempts OR (attempt > 0 OR status = 'processing') AND max_attempts IS NULL
    OR attempt = 0 AND status = 'processing'
 LIMIT %(most)s

-- name: balance_is_the_sum_of_entries
-- A row is an account whose balance is not the sum of its entries, or entries without an account. One of the two was
-- changed by hand. The entries are right: find out who changed what, then set the balance to the sum.
SELECT user_id, a.balance, e.total AS sum_of_entries
  FROM generation.credit_account a
  FULL JOIN (SELECT user_id, sum(amount) AS total FROM generation.credit_entry GROUP BY user_id) e USING (user_id)
 WHERE a.balance IS DISTINCT FROM coalesce(e.total, 0)
 LIMIT %(most)s

-- name: balances_are_never_negative
-- A row is an account with a negative balance, or an entry after which the balance was negative. CHECKs of the tables
-- prevent it: they were removed. Add them again (NOT VALID first), and correct the account with an adjustment.
SELECT user_id, NULL AS seq, balance FROM generation.credit_account WHERE balance < 0
UNION ALL
SELECT user_id, seq, balance_after FROM generation.credit_entry WHERE balance_after < 0
 LIMIT %(most)s

-- name: calls_and_attempts_belong_to_a_job
-- A row is a record of calls or attempts whose job does not exist: pruning deletes them together, so the job was
-- deleted by hand. The provider still bills its calls.
SELECT job_id, 'provider_call' AS kept_in, count(*) AS rows FROM generation.provider_call c
 WHERE NOT EXISTS (SELECT FROM generation.generation_job j WHERE j.id = c.job_id) GROUP BY job_id
UNION ALL
SELECT job_id, 'job_attempt', count(*) FROM generation.job_attempt a
 WHERE NOT EXISTS (SELECT FROM generation.generation_job j WHERE j.id = a.job_id) GROUP BY job_id
 LIMIT %(most)s

-- name: completed_names_its_images
-- A row is a completed job whose result lacks the key of one of its images, so that the paid image cannot be fetched.
-- Search the storage for objects under the job's id. SQL cannot check that there is an object for each key.
SELECT j.id AS job_id, j.user_id, j.result
  FROM generation.generation_job j
 CROSS JOIN LATERAL (
   SELECT count(*) AS images,
          count(*) FILTER (WHERE jsonb_typeof(image->'key') = 'string' AND image->>'key' <> '') AS keys
     FROM jsonb_array_elements(
            CASE jsonb_typeof(j.result->'images') WHEN 'array' THEN j.result->'images' ELSE '[]' END) image
 ) named
 WHERE j.status = 'completed' AND (named.images = 0 OR named.keys < named.images)
 LIMIT %(most)s

-- name: completed_once_and_never_left
-- A row is a job that was completed more than once, or that is not completed although an attempt completed it, or that
-- was worked on after that: it left its final state. Its user may have two images for one price, or have lost one.
SELECT j.id AS job_id, j.status, a.completions, a.completed_at, a.last_start
  FROM generation.generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome = 'completed') AS completions,
                    max(ended_at) FILTER (WHERE outcome = 'completed') AS completed_at,
                    max(started_at) FILTER (WHERE outcome <> 'completed') AS last_start
               FROM generation.job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE coalesce(a.completions, 0) <> CASE j.status WHEN 'completed' THEN 1 ELSE 0 END OR a.last_start > a.completed_at
 LIMIT %(most)s

-- name: ended_jobs_are_told_once
-- A row is the end of a job, within the last week, for which an enabled endpoint has no message although it subscribes
-- to it, or has a message of another event: the trigger «write_deliveries» was disabled, or messages were changed
-- or removed by hand. Have the app read the job itself.
SELECT j.id AS job_id, j.status, e.id AS endpoint_id, d.event AS sent
  FROM generation.webhook_endpoint e
  JOIN generation.generation_job j ON j.finished_at > greatest(e.enabled_since + interval '1 minute', now() - interval '7 days')
                       AND (e.user_id IS NULL OR e.user_id = j.user_id)
  LEFT JOIN generation.webhook_delivery d ON d.endpoint_id = e.id AND d.job_id = j.id
 WHERE e.disabled_at IS NULL
   AND CASE WHEN 'job.' || j.status = ANY (e.events) THEN d.event IS DISTINCT FROM 'job.' || j.status
            ELSE d.id IS NOT NULL END
 LIMIT %(most)s

-- name: entries_chain_without_gap
-- A row is an entry that does not continue from the one before it, or an account whose count of entries is not the
-- number of its last entry: entries were changed or removed by hand, though they are append-only. Restore them from a
-- backup; do not renumber.
SELECT user_id, seq, previous_seq, amount, previous_balance, balance_after
  FROM (SELECT user_id, seq, amount, balance_after,
               lag(seq, 1, 0::bigint) OVER account AS previous_seq,
               lag(balance_after, 1, 0::bigint) OVER account AS previous_balance
          FROM generation.credit_entry WINDOW account AS (PARTITION BY user_id ORDER BY seq)) entry
 WHERE seq <> previous_seq + 1 OR balance_after <> previous_balance + amount
UNION ALL
SELECT a.user_id, a.entries, e.last, NULL, NULL, NULL
  FROM generation.credit_account a
  LEFT JOIN (SELECT user_id, max(seq) AS last FROM generation.credit_entry GROUP BY user_id) e USING (user_id)
 WHERE a.entries <> coalesce(e.last, 0)
 LIMIT %(most)s

-- name: final_means_finished
-- A row is a final job without finished_at, or a job with finished_at that is not final. A CHECK or a trigger of the
-- table prevents it: it was disabled.
SELECT id AS job_id, status, started_at, finished_at
  FROM generation.generation_job
 WHERE (finished_at IS NOT NULL) <> (status IN ('completed', 'failed', 'cancelled'))
 LIMIT %(most)s

-- name: no_lease_expired_two_minutes_ago_while_a_worker_lives
-- A row is a job whose lease expired more than two minutes ago and that was not reclaimed, although a worker has been
-- alive all that time. See the task «reclaim» in maintenance_task: its last_ok_at and last_error. After an outage of
-- the database, check again a minute later.
SELECT id AS job_id, locked_by, lease_expires_at, now() - lease_expires_at AS expired_for
  FROM generation.generation_job
 WHERE status = 'processing' AND lease_expires_at < now() - interval '2 minutes'
   AND EXISTS (SELECT FROM generation.worker_process
                WHERE seen_at > now() - interval '1 minute' AND started_at < now() - interval '2 minutes')
 LIMIT %(most)s

-- name: no_minute_above_the_limit
-- A row is a key and a time after which more calls began within a minute than its gate allows. The gate was changed by
-- hand, or while calls were running. The provider answers 429, which costs only time.
SELECT key_label, from_then_on, calls, calls_per_minute
  FROM (SELECT c.key_label, c.started_at AS from_then_on, g.calls_per_minute,
               count(*) OVER (PARTITION BY c.key_label ORDER BY c.started_at
                              RANGE BETWEEN CURRENT ROW AND interval '60 seconds' FOLLOWING) AS calls
          FROM generation.provider_call c JOIN generation.provider_gate g USING (key_label)
         WHERE c.started_at >= g.limited_since) minute
 WHERE calls > calls_per_minute
 LIMIT %(most)s

-- name: paid_calls_within_bounds
-- A row is a job for which the provider was, or may have been, paid more often than allowed: max_paid_calls is the
-- highest value that any worker had. Compare with the provider's bill; a call whose answer was lost counts as paid.
SELECT job_id, count(*) AS paid_calls, count(*) FILTER (WHERE finished_at IS NULL) AS unanswered
  FROM generation.provider_call
 WHERE spent IS DISTINCT FROM false
 GROUP BY job_id
HAVING count(*) > %(max_paid_calls)s
 LIMIT %(most)s

-- name: processing_means_leased
-- A row is a processing job without a complete lease, which no worker can settle or reclaim, or a job with a lease that
-- is not processing. A CHECK of the table prevents it: it was removed. Add it again; to free a stuck job, set all four
-- columns with lease_expires_at in the past, and it is reclaimed.
SELECT id AS job_id, status, lease_token, locked_by, locked_at, lease_expires_at
  FROM generation.generation_job
 WHERE num_nulls(lease_token, locked_by, locked_at, lease_expires_at) <> CASE status WHEN 'processing' THEN 0 ELSE 4 END
 LIMIT %(most)s

-- name: refund_goes_to_the_payer_and_is_the_debit
-- A row is a refund that went to another account than the debit, is for another job or amount, or came before the
-- debit. Pruned jobs are checked too. Correct both accounts with adjustments.
SELECT r.job_id, r.user_id, r.seq, r.amount, r.refund_of, d.job_id AS job_of_debit, d.amount AS debit
  FROM generation.credit_entry r
  LEFT JOIN generation.credit_entry d ON d.user_id = r.user_id AND d.seq = r.refund_of AND d.kind = 'debit'
 WHERE r.kind = 'refund' AND (d.job_id, -d.amount, d.seq < r.seq) IS DISTINCT FROM (r.job_id, r.amount, true)
 LIMIT %(most)s

-- name: refunded_if_and_only_if_debited_and_ended_without_image
-- A row is a job that was refunded although it has an image or still runs (take the credits with an adjustment, or
-- leave them), or that ended without an image and was not refunded (grant them): the trigger «refund» was disabled.
SELECT j.id AS job_id, j.user_id, j.status, j.debited, j.cost, coalesce(r.refunds, 0) AS refunds, r.refunded
  FROM generation.generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS refunds, sum(amount) AS refunded
               FROM generation.credit_entry WHERE kind = 'refund' GROUP BY job_id) r ON r.job_id = j.id
 WHERE coalesce(r.refunds, 0) <> CASE WHEN j.debited AND j.status IN ('failed', 'cancelled') THEN 1 ELSE 0 END
 LIMIT %(most)s

-- name: started_work_is_debited_once_for_its_cost
-- A row is a job that was worked on without a debit, or was debited without being marked so, or with another amount or
-- from another account. Grant the user what was debited too much; what was debited too little is our loss.
SELECT j.id AS job_id, j.user_id, j.status, j.cost, j.debited, d.debits, d.charged, d.payer
  FROM generation.generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS debits, -sum(amount) AS charged, min(user_id) AS payer
               FROM generation.credit_entry WHERE kind = 'debit' GROUP BY job_id) d ON d.job_id = j.id
 WHERE CASE WHEN j.debited OR j.started_at IS NOT NULL AND j.cost > 0
         THEN (d.debits, d.charged, d.payer, j.debited) IS DISTINCT FROM (1::bigint, j.cost::numeric, j.user_id, true)
         ELSE d.debits IS NOT NULL END
 LIMIT %(most)s
