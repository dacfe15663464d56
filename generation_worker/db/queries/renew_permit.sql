-- The request of a call that has been begun leaves only now: its permit is stamped with this moment, for the provider counts
-- what arrives. If the gate has closed meanwhile, or the permit has left the window and there is no room for another, the
-- answer is how long to wait, as in begin_call. No row: the key has no gate.
WITH gate AS MATERIALIZED (
  SELECT * FROM provider_gate WHERE key_label = %(key_label)s FOR NO KEY UPDATE
), counted AS MATERIALIZED (
  SELECT g.*, now, greatest(g.head, gate_tenth(now)) AS tenth, gate_window(g.used, g.head, gate_tenth(now)) AS window_now
    FROM gate g CROSS JOIN LATERAL (SELECT clock_timestamp() AS now WHERE g.key_label IS NOT NULL) AS clock
), judged AS MATERIALIZED (
  SELECT *, {how_closed}
    FROM (SELECT *, coalesce(window_now[greatest(0, least(606, 606 - tenth + %(permit)s::bigint))::int] > 0, false) AS has_permit,
                 greatest(extract(epoch FROM closed_until - now), 0)::float8 AS limited_for,
                 CASE WHEN breaker = 'open' AND probe_job IS DISTINCT FROM %(job_id)s::uuid
                      THEN greatest(extract(epoch FROM open_until - now), 1)::float8 ELSE 0 END AS open_for
            FROM counted) c
), told AS MATERIALIZED (
  SELECT *, CASE WHEN closed > 0 AND (
                   open_for > 0 AND EXISTS (SELECT FROM generation_job WHERE id = %(job_id)s::uuid AND fallback_provider IS NOT NULL)
                   OR {another_key})
                 THEN 0 ELSE closed END AS wait
    FROM judged t
), stamped AS (
  UPDATE provider_gate g SET used = gate_stamp(j.window_now, j.tenth, CASE WHEN j.has_permit THEN %(permit)s::bigint END), head = j.tenth
    FROM told j WHERE g.key_label = j.key_label AND j.wait IS NULL
), noted AS (
  UPDATE provider_call c SET started_at = j.now
    FROM told j WHERE c.job_id = %(job_id)s AND c.number = %(number)s AND j.wait IS NULL
)
SELECT tenth, wait, reason, extract(epoch FROM now - statement_timestamp())::float8 FROM told
