-- Takes the jobs that may start now, no more than there are idle threads, and charges for those that start for the
-- first time, in one statement: no moment exists in which a job runs unpaid, or is paid for and does not run.
--
-- Each lane (provider) is read from its low-water mark on, in the order of its index, so a closed lane costs nothing and
-- dead rows behind the mark are not read again. The rows are locked before their accounts, and accounts in the order of
-- their names, as everywhere: two claims wait for each other, never in a circle. A balance is read from the locked row,
-- which is fresh; every other table is seen as it was when the statement began.
--
-- No row may keep the others from starting: a date without an end is subtracted as a number, and a maximum that somebody
-- lowered under a waiting job allows the one attempt that it waits for.
--
-- A position goes to the worker in JSON's form: unlike a text it does not depend on the session's style of dates, and comes
-- back as a mark to the microsecond.
--
-- A user's jobs are paid in the order of the claim. The first that the balance does not cover, and every later one that
-- costs more than what is left, fails; one that would still fit is left for the next claim.
WITH lane AS (
  SELECT * FROM unnest(%(providers)s::text[], %(priorities)s::int[], %(positions)s::timestamptz[], %(ids)s::uuid[])
    AS lane (provider, priority, position, id)
), candidate AS MATERIALIZED (
  SELECT job.* FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.user_id, j.priority, j.position, CASE WHEN j.debited THEN 0 ELSE j.cost END AS owed
      FROM generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider
       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)
     ORDER BY j.priority, j.position, j.id
     LIMIT %(slots)s
       FOR NO KEY UPDATE SKIP LOCKED) job
), picked AS MATERIALIZED (
  SELECT * FROM candidate ORDER BY priority, position, id LIMIT %(slots)s
), account AS MATERIALIZED (
  SELECT user_id, balance, entries FROM credit_account
   WHERE user_id = ANY (ARRAY(SELECT user_id FROM picked WHERE owed > 0))
   ORDER BY user_id FOR NO KEY UPDATE
), bill AS (
  SELECT p.id, p.user_id, p.owed, coalesce(a.balance, 0) AS balance, a.entries,
         row_number() OVER line AS number, sum(p.owed) OVER line AS total
    FROM picked p LEFT JOIN account a USING (user_id)
   WHERE p.owed > 0
  WINDOW line AS (PARTITION BY p.user_id ORDER BY p.priority, p.position, p.id)
), judged AS MATERIALIZED (
  SELECT *, total <= balance AS paid,
         owed > balance - coalesce(max(total) FILTER (WHERE total <= balance) OVER (PARTITION BY user_id), 0) AS too_much
    FROM bill
), debited AS (
  -- From the locked row, not from «a»: the table's CHECK is asked before a row that changed meanwhile is read again.
  UPDATE credit_account a SET balance = t.balance - t.owed, entries = t.entries + t.number
    FROM (SELECT user_id, balance, entries, sum(owed)::bigint AS owed, count(*) AS number
            FROM judged WHERE paid GROUP BY user_id, balance, entries) t
   WHERE a.user_id = t.user_id
), entry AS (
  INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, job_id)
  SELECT user_id, entries + number, 'debit', -owed, balance - total, id FROM judged WHERE paid
), started AS (
  UPDATE generation_job j
     SET status = 'processing', attempt = j.attempt + 1, debited = j.debited OR s.pays,
         max_attempts = greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1),
         lease_token = gen_random_uuid(), locked_by = %(worker)s, locked_at = clock_timestamp(),
         lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
         started_at = coalesce(j.started_at, clock_timestamp())
    FROM (SELECT id, false AS pays FROM picked WHERE owed = 0 UNION ALL SELECT id, true FROM judged WHERE paid) s
   WHERE j.id = s.id
  RETURNING j.id::text, j.kind, j.user_id, j.provider, j.payload::text, j.cost, j.attempt, j.max_attempts, j.crashes, j.waits,
            j.lease_token::text, (extract(epoch FROM j.deadline_at) - extract(epoch FROM clock_timestamp()))::float8 AS seconds_left,
            j.priority, to_jsonb(j.position) #>> '{}' AS position
), refused AS (
  UPDATE generation_job j
     SET status = 'failed', error_code = 'insufficient_credits', finished_at = clock_timestamp(),
         error_message = format('The balance of %%s does not cover the cost of %%s.', r.balance, r.owed)
    FROM judged r
   WHERE j.id = r.id AND r.too_much AND NOT r.paid
  RETURNING j.id::text, j.user_id
)
SELECT *, true AS claimed FROM started
UNION ALL
SELECT id, NULL, user_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false FROM refused
