-- The request of a call that has been begun leaves only now: its permit is stamped with this moment, for the provider counts
-- what arrives. If the gate has closed meanwhile, or the permit has left the window and there is no room for another, the
-- answer is how long to wait, as in begin_call. No row: the key has no gate.
WITH gate AS MATERIALIZED (
  SELECT * FROM generation.provider_gate WHERE key_label = %(key_label)s FOR NO KEY UPDATE
), counted AS MATERIALIZED (
  SELECT g.*, now, greatest(g.head, generation.gate_decisecond(now)) AS decisecond, generation.gate_window(g.used, g.head, generation.gate_decisecond(now)) AS window_now
    FROM gate g CROSS JOIN LATERAL (SELECT clock_timestamp() AS now WHERE g.key_label IS NOT NULL) AS clock
), judged AS MATERIALIZED (
  SELECT *, CASE WHEN open_for > 0 THEN open_for
                 WHEN limited_for > 0 THEN limited_for
                 WHEN NOT has_permit AND generation.gate_sum(window_now) >= calls_per_minute THEN greatest(generation.gate_room_in(window_now, decisecond, now), 0.1)
            END AS closed,
            CASE WHEN open_for > 0 THEN opened_for
                 WHEN limited_for > 0 THEN closed_for
                 ELSE format('%%s calls a minute are used up', calls_per_minute) END AS reason
    FROM (SELECT *, coalesce(window_now[greatest(0, least(606, 606 - decisecond + %(permit)s::bigint))::int] > 0, false) AS has_permit,
                 greatest(extract(epoch FROM closed_until - now), 0)::float8 AS limited_for,
                 CASE WHEN breaker = 'open' AND probe_job IS DISTINCT FROM %(job_id)s::uuid
                      THEN greatest(extract(epoch FROM open_until - now), 1)::float8 ELSE 0 END AS open_for
            FROM counted) c
), verdict AS MATERIALIZED (
  SELECT *, CASE WHEN closed > 0 AND (
                   open_for > 0 AND EXISTS (SELECT FROM generation.generation_job WHERE id = %(job_id)s::uuid AND fallback_provider IS NOT NULL)
                   OR EXISTS (SELECT FROM generation.provider_gate o JOIN generation.worker_process w ON o.key_label = ANY (w.keys)
                               WHERE o.provider = t.provider AND o.key_label <> t.key_label AND o.breaker = 'closed'
                                 AND coalesce(o.closed_until < t.now, true) AND w.seen_at > t.now - interval '2 minutes'))
                 THEN 0 ELSE closed END AS wait
    FROM judged t
), stamped AS (
  UPDATE generation.provider_gate g SET used = generation.gate_stamp(j.window_now, j.decisecond, CASE WHEN j.has_permit THEN %(permit)s::bigint END), head = j.decisecond
    FROM verdict j WHERE g.key_label = j.key_label AND j.wait IS NULL
), noted AS (
  UPDATE generation.provider_call c SET started_at = j.now
    FROM verdict j WHERE c.job_id = %(job_id)s AND c.number = %(number)s AND j.wait IS NULL
)
SELECT decisecond AS permit, wait, reason, extract(epoch FROM now - statement_timestamp())::float8 AS stamped_after FROM verdict
