-- Takes the jobs that may start now, no more than there are idle threads and permits of their providers, and charges for
-- those that start for the first time, in one statement: no moment exists in which a job runs unpaid, or is paid for and
-- does not run.
--
-- Each lane (provider) is read from its low-water mark on, in the order of its index, so a closed lane costs nothing and
-- dead rows behind the mark are not read again. The gates are locked first, then the rows, then their accounts, and gates
-- and accounts in the order of their names, as everywhere: two claims wait for each other, never in a circle. A balance is
-- read from the locked row, which is fresh, and so is a gate; every other table is seen as it was when the statement began.
--
-- What is paused is left out: whole lanes, or the jobs of a kind or a user. The latter are put aside by hold_jobs.sql, so that
-- a claim seldom meets one; which ones are held decides nothing but that.
--
-- Only gates of lanes in which jobs wait are locked, so an idle worker writes nothing. A breaker that has been open for its
-- time lets one job through, the probe, and is open again for two minutes, in which that job tells or is not heard of any
-- more. A job whose answer is paid for already needs no permit and passes a closed gate; one whose answer the provider keeps is
-- left to the worker that holds its key, if there is one: who cannot fetch it would only take it from who can.
--
-- No row may keep the others from starting: a date without an end is subtracted as a number, and a maximum that somebody
-- lowered under a waiting job allows the one attempt that it waits for. If a claim fails over a job all the same, those
-- who find out over which rehearse it, each job alone and in a transaction that is rolled back, and leave that one out.
--
-- A position goes to the worker in JSON's form: unlike a text it does not depend on the session's style of dates, and comes
-- back as a mark to the microsecond.
--
-- A user's jobs are paid in the order of the claim. The first that the balance does not cover, and every later one that
-- costs more than what is left, fails; one that would still fit is left for the next claim.
--
-- The parts that limits need are left out for a worker whose providers have none (see db/statements.py).
--
-- The rows that come back: jobs that started, jobs that were refused, and for each lane in which jobs wait outside its
-- gates the seconds until one of them may let somebody in.
WITH paused AS MATERIALIZED (
  SELECT name FROM fleet_setting WHERE starts_with(name, 'paused')
), lane AS (
-- limited
  SELECT *, provider = ANY (%(gated)s::text[]) AS gated
-- else
  SELECT *
-- end
    FROM unnest(%(providers)s::text[], %(priorities)s::int[], %(positions)s::timestamptz[], %(ids)s::uuid[])
      AS lane (provider, priority, position, id)
   WHERE NOT EXISTS (SELECT FROM paused WHERE name = 'paused' OR name = 'paused.provider.' || lane.provider)
-- limited
), gate AS MATERIALIZED (
  SELECT g.* FROM provider_gate g JOIN lane ON lane.provider = g.provider AND lane.gated
   WHERE g.key_label = ANY (%(keys)s::text[])
     AND EXISTS (SELECT FROM generation_job j
                  WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.held
                    AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id))
   ORDER BY g.key_label FOR NO KEY UPDATE OF g
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM gate) AS gates_are_locked
), counted AS MATERIALIZED (
  SELECT g.*, greatest(g.head, gate_tenth(now)) AS tenth, gate_window(g.used, g.head, gate_tenth(now)) AS window_now, now,
         greatest(extract(epoch FROM g.closed_until - now), extract(epoch FROM g.open_until - now), 0)::float8 AS closed_for_seconds
    FROM gate g CROSS JOIN clock
), room AS MATERIALIZED (
  SELECT *, sum(room) OVER (PARTITION BY provider ORDER BY room DESC, key_label) - room AS before,
         sum(room) OVER (PARTITION BY provider) AS in_lane,
         CASE WHEN closed_for_seconds > 0 THEN closed_for_seconds
              ELSE gate_room_in(window_now, tenth, now) END AS room_in
    FROM (SELECT *, CASE WHEN closed_for_seconds > 0 THEN 0
                         ELSE least(greatest(calls_per_minute - gate_sum(window_now), 0),
                                    CASE breaker WHEN 'open' THEN 1 ELSE calls_per_minute END) END AS room
            FROM counted) r
-- end
), candidate AS MATERIALIZED (
-- limited
  SELECT job.*, lane.provider, lane.gated FROM lane CROSS JOIN LATERAL (
-- else
  SELECT job.* FROM lane CROSS JOIN LATERAL (
-- end
    SELECT j.id, j.user_id, j.priority, j.position, j.debited, j.cost
      FROM generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.held
       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] && ARRAY(SELECT name FROM paused)
       AND j.id <> ALL (%(left_out)s::uuid[]) AND (%(rehearsed)s::uuid IS NULL OR j.id = %(rehearsed)s::uuid)
-- limited
       AND NOT (lane.gated AND j.has_answer)
-- end
       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)
     ORDER BY j.priority, j.position, j.id
-- limited
     LIMIT CASE WHEN lane.gated
                THEN least(%(slots)s, coalesce((SELECT max(in_lane) FROM room WHERE room.provider = lane.provider), 0))
                ELSE %(slots)s END
-- else
     LIMIT %(slots)s
-- end
       FOR NO KEY UPDATE SKIP LOCKED) job
-- limited
  UNION ALL
  SELECT job.*, lane.provider, false FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.user_id, j.priority, j.position, j.debited, j.cost
      FROM generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND j.has_answer
       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] && ARRAY(SELECT name FROM paused)
       AND j.id <> ALL (%(left_out)s::uuid[]) AND (%(rehearsed)s::uuid IS NULL OR j.id = %(rehearsed)s::uuid)
       AND (EXISTS (SELECT FROM staged_image s WHERE s.job_id = j.id)
            OR NOT EXISTS (
              SELECT FROM (SELECT c.key_label FROM provider_call c
                            WHERE c.job_id = j.id AND c.provider = j.provider AND c.resumable
                            ORDER BY c.number DESC LIMIT 1) kept
                JOIN worker_process w ON kept.key_label = ANY (w.keys)
               WHERE kept.key_label <> ALL (%(keys)s::text[]) AND w.seen_at > statement_timestamp() - interval '2 minutes'))
     ORDER BY j.priority, j.position, j.id LIMIT %(slots)s
       FOR NO KEY UPDATE SKIP LOCKED) job
   WHERE lane.gated
-- end
), picked AS MATERIALIZED (
  SELECT *, CASE WHEN debited THEN 0 ELSE cost END AS owed
    FROM candidate ORDER BY priority, position, id LIMIT %(slots)s
), account AS MATERIALIZED (
  SELECT user_id, balance, entries FROM credit_account
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
  UPDATE credit_account a SET balance = t.balance - t.owed, entries = t.entries + t.number
    FROM (SELECT user_id, balance, entries, sum(owed)::bigint AS owed, count(*) AS number
            FROM judged WHERE paid GROUP BY user_id, balance, entries) t
   WHERE a.user_id = t.user_id
), entry AS (
  INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, job_id)
  SELECT user_id, entries + number, 'debit', -owed, balance - total, id FROM judged WHERE paid
), start AS MATERIALIZED (
-- limited
  SELECT id, provider, gated, pays,
         CASE WHEN gated THEN row_number() OVER (PARTITION BY provider, gated ORDER BY priority, position, id) END AS turn
    FROM (SELECT id, provider, gated, priority, position, false AS pays FROM picked WHERE owed = 0
          UNION ALL SELECT id, provider, gated, priority, position, true FROM judged WHERE paid) s
-- else
  SELECT id, false AS pays FROM picked WHERE owed = 0 UNION ALL SELECT id, true FROM judged WHERE paid
-- end
-- limited
), permit AS MATERIALIZED (
  SELECT s.id, r.key_label, r.tenth FROM start s
    JOIN room r ON r.provider = s.provider AND s.turn > r.before AND s.turn <= r.before + r.room
), taken AS (
  UPDATE provider_gate g
     SET used = gate_count(r.window_now, 606, t.calls), head = r.tenth,
         open_until = CASE g.breaker WHEN 'open' THEN r.now + interval '2 minutes' END,
         probe_job = CASE g.breaker WHEN 'open' THEN t.job END
    FROM room r JOIN (SELECT key_label, count(*) AS calls, (array_agg(id))[1] AS job FROM permit GROUP BY key_label) t USING (key_label)
   WHERE g.key_label = r.key_label
-- end
), started AS (
  UPDATE generation_job j
     SET status = 'processing', attempt = j.attempt + 1, debited = j.debited OR s.pays,
         max_attempts = greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1),
         lease_token = gen_random_uuid(), locked_by = %(worker)s, locked_at = clock_timestamp(),
         lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
         started_at = coalesce(j.started_at, clock_timestamp())
-- limited
    FROM start s LEFT JOIN permit USING (id)
-- else
    FROM start s
-- end
   WHERE j.id = s.id
  RETURNING j.id::text, j.kind, j.user_id, j.provider, j.payload::text, j.cost, j.attempt, j.max_attempts, j.crashes, j.waits,
            j.lease_token::text, (extract(epoch FROM j.deadline_at) - extract(epoch FROM clock_timestamp()))::float8 AS seconds_left,
-- limited
            permit.key_label, permit.tenth,
-- else
            NULL AS key_label, NULL::bigint AS tenth,
-- end
            j.priority, to_jsonb(j.position) #>> '{}' AS position,
            (extract(epoch FROM clock_timestamp()) - extract(epoch FROM greatest(j.run_at, j.created_at)))::float8 AS waited,
            (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent
), refused AS (
  UPDATE generation_job j
     SET status = 'failed', error_code = 'insufficient_credits', finished_at = clock_timestamp(),
         error_message = format('The balance of %%s does not cover the cost of %%s.', r.balance, r.owed)
    FROM judged r
   WHERE j.id = r.id AND r.too_much AND NOT r.paid
  RETURNING j.id::text, j.user_id, (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent
-- limited
), outside AS (
  SELECT r.provider, min(CASE WHEN r.closed_for_seconds > 0 OR gate_sum(r.window_now) > 0 THEN r.room_in ELSE 60.6 END) AS room_in,
         bool_and(r.breaker = 'open') AS broken
    FROM room r
   GROUP BY r.provider, r.in_lane
  HAVING r.in_lane <= (SELECT count(*) FROM start s WHERE s.gated AND s.provider = r.provider)
-- end
)
SELECT *, 'started' AS what FROM started
UNION ALL
SELECT id, NULL, user_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, age, traceparent, 'refused'
  FROM refused
-- limited
UNION ALL
SELECT NULL, NULL, NULL, provider, NULL, NULL, NULL, NULL, NULL, NULL, NULL, room_in, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       CASE WHEN broken THEN 'broken' ELSE 'outside' END FROM outside
-- end
