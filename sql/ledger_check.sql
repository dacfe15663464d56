-- READS ONLY
-- What must hold at any moment, all in one look: no row means that accounts, jobs, attempts and calls agree. Each row
-- names what does not hold and the offender; what to do stands in the comment above that part. Generated from what
-- `generation-worker credits audit` asks.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?max_paid_calls}
\else
  \set max_paid_calls 2
\endif
SELECT 'attempts_are_in_the_history' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job whose count of attempts is not what its history says: an attempt ended without being written down, or
-- was written down twice. One that waited for a limit, or was interrupted, was given back and does not count; in a
-- final job the last of these may count, for it ended there.
SELECT j.id AS job_id, j.status, j.attempt, coalesce(a.counted, 0) AS counted_in_history, a.given_back
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome NOT IN ('rate_limited', 'released')) AS counted,
                    count(*) FILTER (WHERE outcome IN ('rate_limited', 'released')) AS given_back
               FROM job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE j.attempt - coalesce(a.counted, 0) <> CASE j.status WHEN 'processing' THEN 1 ELSE 0 END
   AND NOT (j.finished_at IS NOT NULL AND j.attempt = coalesce(a.counted, 0) + 1 AND a.given_back > 0)
) AS broken
UNION ALL
SELECT 'attempts_within_bounds' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job with more attempts than it may have, or that is processing in no attempt or without a maximum. The
-- table has a CHECK against the first: it was taken away. Cancel the job.
SELECT id AS job_id, status, attempt, max_attempts
  FROM generation_job
 WHERE attempt < 0 OR attempt > max_attempts OR (attempt > 0 OR status = 'processing') AND max_attempts IS NULL
    OR attempt = 0 AND status = 'processing'
) AS broken
UNION ALL
SELECT 'balance_is_the_sum_of_entries' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is an account whose balance is not what its entries add up to, or entries without an account. Somebody has
-- changed one of the two by hand. The entries are the books: find out who changed what, then set the balance to the
-- sum.
SELECT user_id, a.balance, e.total AS sum_of_entries
  FROM credit_account a
  FULL JOIN (SELECT user_id, sum(amount) AS total FROM credit_entry GROUP BY user_id) e USING (user_id)
 WHERE a.balance IS DISTINCT FROM coalesce(e.total, 0)
) AS broken
UNION ALL
SELECT 'balances_are_never_negative' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is an account, or the moment after an entry, in which a user owed us credits. The tables have a CHECK against
-- it: it was taken away. Put it back (NOT VALID first), and settle the account with an adjustment.
SELECT user_id, NULL AS seq, balance FROM credit_account WHERE balance < 0
UNION ALL
SELECT user_id, seq, balance_after FROM credit_entry WHERE balance_after < 0
) AS broken
UNION ALL
SELECT 'calls_and_attempts_belong_to_a_job' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a record of a call or an attempt whose job is gone: pruning removes them together, so the job was deleted by
-- hand. Its calls still stand on the provider's bill.
SELECT job_id, 'provider_call' AS kept_in, count(*) AS rows FROM provider_call c
 WHERE NOT EXISTS (SELECT FROM generation_job j WHERE j.id = c.job_id) GROUP BY job_id
UNION ALL
SELECT job_id, 'job_attempt', count(*) FROM job_attempt a
 WHERE NOT EXISTS (SELECT FROM generation_job j WHERE j.id = a.job_id) GROUP BY job_id
) AS broken
UNION ALL
SELECT 'completed_names_its_images' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a completed job whose result does not name the key of each of its images, so that nobody can fetch what was
-- paid for. Look for the objects under the job's id in the storage. That an object is there for each key cannot be
-- asked here.
SELECT j.id AS job_id, j.user_id, j.result
  FROM generation_job j
 CROSS JOIN LATERAL (
   SELECT count(*) AS images,
          count(*) FILTER (WHERE jsonb_typeof(image->'key') = 'string' AND image->>'key' <> '') AS keys
     FROM jsonb_array_elements(
            CASE jsonb_typeof(j.result->'images') WHEN 'array' THEN j.result->'images' ELSE '[]' END) image
 ) named
 WHERE j.status = 'completed' AND (named.images = 0 OR named.keys < named.images)
) AS broken
UNION ALL
SELECT 'completed_once_and_never_left' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job that was completed other than once, or that is not completed although an attempt completed it, or that
-- was worked on after that: it left its final state. Its user may have two images for one price, or have lost one.
SELECT j.id AS job_id, j.status, a.completions, a.completed_at, a.last_start
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) FILTER (WHERE outcome = 'completed') AS completions,
                    max(ended_at) FILTER (WHERE outcome = 'completed') AS completed_at,
                    max(started_at) FILTER (WHERE outcome <> 'completed') AS last_start
               FROM job_attempt GROUP BY job_id) a ON a.job_id = j.id
 WHERE coalesce(a.completions, 0) <> CASE j.status WHEN 'completed' THEN 1 ELSE 0 END OR a.last_start > a.completed_at
) AS broken
UNION ALL
SELECT 'ended_jobs_are_told_once' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is the end of a job, within the last week, of which an endpoint that is enabled is not told though it asked for
-- it, or a message of another end than the job has: the trigger «tell» was switched off, or messages were changed or
-- removed by hand. Let the app look at the job itself.
SELECT j.id AS job_id, j.status, e.id AS endpoint_id, d.event AS told
  FROM webhook_endpoint e
  JOIN generation_job j ON j.finished_at > greatest(e.enabled_since + interval '1 minute', now() - interval '7 days')
                       AND (e.user_id IS NULL OR e.user_id = j.user_id)
  LEFT JOIN webhook_delivery d ON d.endpoint_id = e.id AND d.job_id = j.id
 WHERE e.disabled_at IS NULL
   AND CASE WHEN 'job.' || j.status = ANY (e.events) THEN d.event IS DISTINCT FROM 'job.' || j.status
            ELSE d.id IS NOT NULL END
) AS broken
UNION ALL
SELECT 'entries_chain_without_gap' AS invariant, to_jsonb(broken) AS offender FROM (
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
) AS broken
UNION ALL
SELECT 'final_means_finished' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job that is final without the time at which it became so, or has that time without being final. The table
-- has a CHECK or a trigger against it: it was switched off.
SELECT id AS job_id, status, started_at, finished_at
  FROM generation_job
 WHERE (finished_at IS NOT NULL) <> (status IN ('completed', 'failed', 'cancelled'))
) AS broken
UNION ALL
SELECT 'no_lease_expired_two_minutes_ago_while_a_worker_lives' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job whose worker fell silent more than two minutes ago and that nobody has taken over, although a worker
-- has been running and reporting all that time. See the task «reclaim» in maintenance_task: its last_ok_at and
-- last_error. After the database itself was away, ask again a minute later.
SELECT id AS job_id, locked_by, lease_expires_at, now() - lease_expires_at AS expired_for
  FROM generation_job
 WHERE status = 'processing' AND lease_expires_at < now() - interval '2 minutes'
   AND EXISTS (SELECT FROM worker_process
                WHERE seen_at > now() - interval '1 minute' AND started_at < now() - interval '2 minutes')
) AS broken
UNION ALL
SELECT 'no_minute_above_the_limit' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a key and a moment from which on more calls began within a minute than its gate allows. Somebody has changed
-- the gate by hand, or it was changed while calls were under way. The provider answers with 429, which costs time only.
SELECT key_label, from_then_on, calls, calls_per_minute
  FROM (SELECT c.key_label, c.started_at AS from_then_on, g.calls_per_minute,
               count(*) OVER (PARTITION BY c.key_label ORDER BY c.started_at
                              RANGE BETWEEN CURRENT ROW AND interval '60 seconds' FOLLOWING) AS calls
          FROM provider_call c JOIN provider_gate g USING (key_label)
         WHERE c.started_at >= g.limited_since) minute
 WHERE calls > calls_per_minute
) AS broken
UNION ALL
SELECT 'paid_calls_within_bounds' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job for which the provider was, or may have been, paid more often than allowed: max_paid_calls is the
-- highest that any worker has been run with. Compare the provider's bill; a call whose answer was lost counts as paid.
SELECT job_id, count(*) AS paid_calls, count(*) FILTER (WHERE finished_at IS NULL) AS unanswered
  FROM provider_call
 WHERE spent IS DISTINCT FROM false
 GROUP BY job_id
HAVING count(*) > :max_paid_calls
) AS broken
UNION ALL
SELECT 'processing_means_leased' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job that is processing without a whole lease, so that no worker can settle or reclaim it, or that has a
-- lease without being processing. The table has a CHECK against it: it was taken away. Put it back; to free a job that
-- hangs, set all four columns with lease_expires_at in the past, and it is reclaimed.
SELECT id AS job_id, status, lease_token, locked_by, locked_at, lease_expires_at
  FROM generation_job
 WHERE num_nulls(lease_token, locked_by, locked_at, lease_expires_at) <> CASE status WHEN 'processing' THEN 0 ELSE 4 END
) AS broken
UNION ALL
SELECT 'refund_goes_to_the_payer_and_is_the_debit' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a refund that went to another account than was charged, for another job or amount, or before the charge. It
-- holds for jobs that have been pruned too. Correct both accounts with adjustments.
SELECT r.job_id, r.user_id, r.seq, r.amount, r.refund_of, d.job_id AS job_of_debit, d.amount AS debit
  FROM credit_entry r
  LEFT JOIN credit_entry d ON d.user_id = r.user_id AND d.seq = r.refund_of AND d.kind = 'debit'
 WHERE r.kind = 'refund' AND (d.job_id, -d.amount, d.seq < r.seq) IS DISTINCT FROM (r.job_id, r.amount, true)
) AS broken
UNION ALL
SELECT 'refunded_if_and_only_if_debited_and_ended_without_image' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job that has its credits back though it made an image or still runs (take them with an adjustment, or let
-- it be), or that ended without an image and has not (grant them): the trigger that refunds was switched off.
SELECT j.id AS job_id, j.user_id, j.status, j.debited, j.cost, coalesce(r.refunds, 0) AS refunds, r.refunded
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS refunds, sum(amount) AS refunded
               FROM credit_entry WHERE kind = 'refund' GROUP BY job_id) r ON r.job_id = j.id
 WHERE coalesce(r.refunds, 0) <> CASE WHEN j.debited AND j.status IN ('failed', 'cancelled') THEN 1 ELSE 0 END
) AS broken
UNION ALL
SELECT 'started_work_is_debited_once_for_its_cost' AS invariant, to_jsonb(broken) AS offender FROM (
-- A row is a job that was worked on without being paid for, or was charged without being marked so, or for another
-- amount or from another account. Grant the user back what was charged too much; what was charged too little is our
-- loss.
SELECT j.id AS job_id, j.user_id, j.status, j.cost, j.debited, d.debits, d.charged, d.payer
  FROM generation_job j
  LEFT JOIN (SELECT job_id, count(*) AS debits, -sum(amount) AS charged, min(user_id) AS payer
               FROM credit_entry WHERE kind = 'debit' GROUP BY job_id) d ON d.job_id = j.id
 WHERE CASE WHEN j.debited OR j.started_at IS NOT NULL AND j.cost > 0
         THEN (d.debits, d.charged, d.payer, j.debited) IS DISTINCT FROM (1::bigint, j.cost::numeric, j.user_id, true)
         ELSE d.debits IS NOT NULL END
) AS broken
ORDER BY invariant;
