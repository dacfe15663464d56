-- Takes the jobs that may start now, no more than there are idle threads and permits of their providers, and charges for those
-- that start for the first time, in one statement: at no moment does a job run unpaid, or is it paid and does not run.
--
-- For a worker whose provider keys have limits; without any it is claim_jobs.sql, which explains what both have in common:
-- lanes and their marks, pauses, rehearsals, positions, and how jobs are paid.
--
-- The gates are locked first, in the order of their names, then the rows, then the accounts. Only gates of lanes in which jobs
-- wait are locked, so an idle worker writes nothing. A gate is read from the locked row, which is fresh.
--
-- A breaker that has been open for its time lets one job through, the probe, and is open again for two minutes, in which the
-- outcome of that job decides. A job whose answer is already paid needs no permit and passes a closed gate; one whose answer
-- the provider keeps is left to the worker that holds its key, if there is one: a worker without the key could not fetch it.
--
-- Returns, by the column «what»: the jobs that started, with the key and the permit of each; the jobs that were refused (id,
-- user_id, age and traceparent); and one row «closed» for each lane in which jobs wait for its gates: provider, opens_in (the
-- seconds until one of them may let a job through) and all_breakers_open.
WITH paused AS MATERIALIZED (
  SELECT name FROM generation.fleet_setting WHERE starts_with(name, 'paused')
), lane AS (
  SELECT *, provider = ANY (%(gated)s::text[]) AS gated
    FROM unnest(%(providers)s::text[], %(priorities)s::int[], %(positions)s::timestamptz[], %(ids)s::uuid[])
      AS lane (provider, priority, position, id)
   WHERE NOT EXISTS (SELECT FROM paused WHERE name = 'paused' OR name = 'paused.provider.' || lane.provider)
), gate AS MATERIALIZED (
  SELECT g.* FROM generation.provider_gate g JOIN lane ON lane.provider = g.provider AND lane.gated
   WHERE g.key_label = ANY (%(keys)s::text[])
     AND EXISTS (SELECT FROM generation.generation_job j
                  WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
                    AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id))
   ORDER BY g.key_label FOR NO KEY UPDATE OF g
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM gate) AS gates_are_locked
), counted AS MATERIALIZED (
  SELECT g.*, greatest(g.head, generation.gate_decisecond(now)) AS decisecond, generation.gate_window(g.used, g.head, generation.gate_decisecond(now)) AS window_now, now,
         greatest(extract(epoch FROM g.closed_until - now), extract(epoch FROM g.open_until - now), 0)::float8 AS closed_for_seconds
    FROM gate g CROSS JOIN clock
), room AS MATERIALIZED (
  SELECT *, sum(room) OVER (PARTITION BY provider ORDER BY room DESC, key_label) - room AS before,
         sum(room) OVER (PARTITION BY provider) AS in_lane,
         CASE WHEN closed_for_seconds > 0 THEN closed_for_seconds
              ELSE generation.gate_room_in(window_now, decisecond, now) END AS opens_in
    FROM (SELECT *, CASE WHEN closed_for_seconds > 0 THEN 0
                         ELSE least(greatest(calls_per_minute - generation.gate_sum(window_now), 0),
                                    CASE breaker WHEN 'open' THEN 1 ELSE calls_per_minute END) END AS room
            FROM counted) r
), candidate AS MATERIALIZED (
  SELECT job.*, lane.provider, lane.gated FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.user_id, j.priority, j.position, j.debited, j.cost
      FROM generation.generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND NOT j.parked
       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] && ARRAY(SELECT name FROM paused)
       AND j.id <> ALL (%(left_out)s::uuid[]) AND (%(rehearsed)s::uuid IS NULL OR j.id = %(rehearsed)s::uuid)
       AND NOT (lane.gated AND j.has_answer)
       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)
     ORDER BY j.priority, j.position, j.id
     LIMIT CASE WHEN lane.gated
                THEN least(%(slots)s, coalesce((SELECT max(in_lane) FROM room WHERE room.provider = lane.provider), 0))
                ELSE %(slots)s END
       FOR NO KEY UPDATE SKIP LOCKED) job
  UNION ALL
  SELECT job.*, lane.provider, false FROM lane CROSS JOIN LATERAL (
    SELECT j.id, j.user_id, j.priority, j.position, j.debited, j.cost
      FROM generation.generation_job j
     WHERE j.status = 'pending' AND j.provider = lane.provider AND j.has_answer
       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] && ARRAY(SELECT name FROM paused)
       AND j.id <> ALL (%(left_out)s::uuid[]) AND (%(rehearsed)s::uuid IS NULL OR j.id = %(rehearsed)s::uuid)
       AND (EXISTS (SELECT FROM generation.staged_image s WHERE s.job_id = j.id)
            OR NOT EXISTS (
              SELECT FROM (SELECT c.key_label FROM generation.provider_call c
                            WHERE c.job_id = j.id AND c.provider = j.provider AND c.resumable
                            ORDER BY c.number DESC LIMIT 1) kept
                JOIN generation.worker_process w ON kept.key_label = ANY (w.keys)
               WHERE kept.key_label <> ALL (%(keys)s::text[]) AND w.seen_at > statement_timestamp() - interval '2 minutes'))
     ORDER BY j.priority, j.position, j.id LIMIT %(slots)s
       FOR NO KEY UPDATE SKIP LOCKED) job
   WHERE lane.gated
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
  SELECT id, provider, gated, pays,
         CASE WHEN gated THEN row_number() OVER (PARTITION BY provider, gated ORDER BY priority, position, id) END AS turn
    FROM (SELECT id, provider, gated, priority, position, false AS pays FROM picked WHERE owed = 0
          UNION ALL SELECT id, provider, gated, priority, position, true FROM judged WHERE paid) s
), permit AS MATERIALIZED (
  SELECT s.id, r.key_label, r.decisecond FROM start s
    JOIN room r ON r.provider = s.provider AND s.turn > r.before AND s.turn <= r.before + r.room
), taken AS (
  UPDATE generation.provider_gate g
     SET used = generation.gate_count(r.window_now, 606, t.calls), head = r.decisecond,
         open_until = CASE g.breaker WHEN 'open' THEN r.now + interval '2 minutes' END,
         probe_job = CASE g.breaker WHEN 'open' THEN t.job END
    FROM room r JOIN (SELECT key_label, count(*) AS calls, (array_agg(id))[1] AS job FROM permit GROUP BY key_label) t USING (key_label)
   WHERE g.key_label = r.key_label
), started AS (
  UPDATE generation.generation_job j
     SET status = 'processing', attempt = j.attempt + 1, debited = j.debited OR s.pays,
         max_attempts = greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1),
         lease_token = gen_random_uuid(), locked_by = %(worker)s, locked_at = clock_timestamp(),
         lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
         started_at = coalesce(j.started_at, clock_timestamp())
    FROM start s LEFT JOIN permit USING (id)
   WHERE j.id = s.id
  RETURNING j.id::text, j.kind, j.user_id, j.provider, j.payload::text, j.cost, j.attempt, j.max_attempts, j.crashes, j.waits,
            j.lease_token::text, (extract(epoch FROM j.deadline_at) - extract(epoch FROM clock_timestamp()))::float8 AS seconds_left,
            permit.key_label, permit.decisecond AS permit,
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
), closed AS (
  SELECT r.provider, min(CASE WHEN r.closed_for_seconds > 0 OR generation.gate_sum(r.window_now) > 0 THEN r.opens_in ELSE 60.6 END) AS opens_in,
         bool_and(r.breaker = 'open') AS all_breakers_open
    FROM room r
   GROUP BY r.provider, r.in_lane
  HAVING r.in_lane <= (SELECT count(*) FROM start s WHERE s.gated AND s.provider = r.provider)
)
SELECT 'started' AS what, s.*, NULL::float8 AS opens_in, NULL::boolean AS all_breakers_open FROM started s
UNION ALL
SELECT 'refused', r.id, NULL, r.user_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       r.age, r.traceparent, NULL, NULL
  FROM refused r
UNION ALL
SELECT 'closed', NULL, NULL, NULL, c.provider, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, c.opens_in, c.all_breakers_open
  FROM closed c
