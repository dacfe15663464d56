-- Takes the jobs that may start now, no more than there are idle threads, and charges for those that start for
-- the first time, in one statement: at no moment does a job run unpaid, or is it paid and does not run.
--
-- For a worker whose providers have no limits; with limits it is claim_limited_jobs.sql, which is the same with the gates of
-- the provider keys. A change of one belongs into the other.
--
-- Each lane (provider) is read from its low-water mark on, in the order of its index, so a closed lane costs nothing and dead
-- rows behind the mark are not read again. The rows are locked first, then their accounts in the order of their names, as
-- everywhere: two claims may wait for each other, but never in a circle. A balance is read from the locked row, which is fresh;
-- every other table is seen as it was when the statement began.
--
-- What is paused is left out: whole lanes, or the jobs of a kind or a user. Those jobs are put aside by park_paused_jobs.sql, so that
-- a claim seldom meets one; which ones are held decides nothing else.
--
-- No row may keep the others from starting: a date without an end is subtracted as a number, and a maximum that somebody
-- lowered under a waiting job allows the one attempt that it waits for. If a claim fails because of a job all the same, the
-- worker rehearses it, each job alone and in a transaction that is rolled back, to find that job and leave it out.
--
-- A position goes to the worker as JSON writes it: unlike text that does not depend on the session's DateStyle, and it comes
-- back as a mark exact to the microsecond.
--
-- A user's jobs are paid in the order of the claim. The first that the balance does not cover, and every later one that
-- costs more than what is left, fails; one that would still fit is left for the next claim.
--
-- Returns, by the column «what»: the jobs that started, and the jobs that were refused (id, user_id, age and traceparent).
WITH paused AS MATERIALIZED (
  SELECT name FROM generation.fleet_setting WHERE starts_with(name, 'paused')
), lane AS (
  SELECT * FROM unnest(%(providers)s::text[], %(priorities)s::int[], %(positions)s::timestamptz[], %(ids)s::uuid[])
      AS lane (provider, priority, position, id)
   WHERE NOT EXISTS (SELECT FROM paused WHERE name = 'paused' OR name = 'paused.provider.' || lane.provider)
), candidate AS MATERIALIZED (
  SELECT job.* FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.user_id, j.priority, j.position, j.debited, j.cost
      FROM generation.generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] && ARRAY(SELECT name FROM paused)
       AND j.id <> ALL (%(left_out)s::uuid[]) AND (%(rehearsed)s::uuid IS NULL OR j.id = %(rehearsed)s::uuid)
       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)
     ORDER BY j.priority, j.position, j.id
     LIMIT %(slots)s
       FOR NO KEY UPDATE SKIP LOCKED) job
), picked AS MATERIALIZED (
  SELECT *, CASE WHEN debited THEN 0 ELSE cost END AS owed
    FROM candidate ORDER BY priority, position, id LIMIT %(slots)s
), account AS MATERIALIZED (
  SELECT user_id, balance, entries FROM generation.credit_account
   WHERE user_id = ANY (ARRAY(SELECT user_id FROM picked WHERE owed > 0))
   ORDER BY user_id FOR NO KEY UPDATE
), bill AS (
  SELECT p.*, coalesce(a.balance, 0) AS balance, a.entries, row_number() OVER line AS number, sum(p.owed) OVER line AS total
    FROM picked p LEFT JOIN account a USING (user_id)
   WHERE p.owed > 0
  WINDOW line AS (PARTITION BY p.user_id ORDER BY p.priority, p.position, p.id)
), judged AS MATERIALIZED (
  SELECT *, total <= balance AS paid,
         owed > balance - coalesce(max(total) FILTER (WHERE total <= balance) OVER (PARTITION BY user_id), 0) AS too_much
    FROM bill
), debited AS (
  -- From the locked row, not from «a»: the table's CHECK is asked before a row that changed meanwhile is read again.
  UPDATE generation.credit_account a SET balance = t.balance - t.owed, entries = t.entries + t.number
    FROM (SELECT user_id, balance, entries, sum(owed)::bigint AS owed, count(*) AS number
            FROM judged WHERE paid GROUP BY user_id, balance, entries) t
   WHERE a.user_id = t.user_id
), entry AS (
  INSERT INTO generation.credit_entry (user_id, seq, kind, amount, balance_after, job_id)
  SELECT user_id, entries + number, 'debit', -owed, balance - total, id FROM judged WHERE paid
), start AS MATERIALIZED (
  SELECT id, false AS pays FROM picked WHERE owed = 0 UNION ALL SELECT id, true FROM judged WHERE paid
), started AS (
  UPDATE generation.generation_job j
     SET status = 'processing', attempt = j.attempt + 1, debited = j.debited OR s.pays,
         max_attempts = greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1),
         lease_token = gen_random_uuid(), locked_by = %(worker)s, locked_at = clock_timestamp(),
         lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
         started_at = coalesce(j.started_at, clock_timestamp())
    FROM start s
   WHERE j.id = s.id
  RETURNING j.id::text, j.kind, j.user_id, j.provider, j.payload::text, j.cost, j.attempt, j.max_attempts, j.crashes, j.waits,
            j.lease_token::text, (extract(epoch FROM j.deadline_at) - extract(epoch FROM clock_timestamp()))::float8 AS seconds_left,
            j.priority, to_jsonb(j.position) #>> '{}' AS position,
            (extract(epoch FROM clock_timestamp()) - extract(epoch FROM greatest(j.run_at, j.created_at)))::float8 AS waited,
            (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent
), refused AS (
  UPDATE generation.generation_job j
     SET status = 'failed', error_code = 'insufficient_credits', finished_at = clock_timestamp(),
         error_message = format('The balance of %%s does not cover the cost of %%s.', r.balance, r.owed)
    FROM judged r
   WHERE j.id = r.id AND r.too_much AND NOT r.paid
  RETURNING j.id::text, j.user_id, (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent
)
SELECT 'started' AS what, s.* FROM started s
UNION ALL
SELECT 'refused', r.id, NULL, r.user_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, r.age, r.traceparent
  FROM refused r
