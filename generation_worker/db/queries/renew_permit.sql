-- The request of a call that has been begun leaves only now: its permit is stamped with this moment, for the provider counts
-- what arrives. If the gate has closed meanwhile, or the permit has left the window and there is no room for another, the
-- answer is how long to wait. No row: the key has no gate.
WITH gate AS MATERIALIZED (
  SELECT * FROM provider_gate WHERE key_label = %(key_label)s FOR NO KEY UPDATE
), counted AS MATERIALIZED (
  SELECT g.*, now, greatest(g.head, gate_tenth(now)) AS tenth, gate_window(g.used, g.head, gate_tenth(now)) AS window_now
    FROM gate g CROSS JOIN LATERAL (SELECT clock_timestamp() AS now WHERE g.key_label IS NOT NULL) AS clock
), judged AS MATERIALIZED (
  SELECT *, CASE WHEN breaker = 'open' AND probe_job IS DISTINCT FROM %(job_id)s::uuid THEN greatest(extract(epoch FROM open_until - now), 1)::float8
                 WHEN closed_until > now THEN extract(epoch FROM closed_until - now)::float8
                 WHEN NOT %(permit)s::bigint > tenth - 606 AND gate_sum(window_now) >= calls_per_minute
                 THEN greatest(gate_room_in(window_now, tenth, now), 0.1) END AS wait,
         CASE breaker WHEN 'open' THEN opened_for ELSE coalesce(closed_for, format('%%s calls a minute are used up', calls_per_minute)) END AS reason
    FROM counted
), stamped AS (
  UPDATE provider_gate g SET used = gate_stamp(j.window_now, j.tenth, %(permit)s::bigint), head = j.tenth
    FROM judged j WHERE g.key_label = j.key_label AND j.wait IS NULL
), noted AS (
  UPDATE provider_call c SET started_at = j.now
    FROM judged j WHERE c.job_id = %(job_id)s AND c.number = %(number)s AND j.wait IS NULL
)
SELECT tenth, wait, reason, extract(epoch FROM now - statement_timestamp())::float8 FROM judged
