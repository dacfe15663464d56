-- The last fence before money is spent: records the call, if the attempt still holds its lease, nobody asked to cancel, the
-- job may pay for another call and the key's gate lets it through. A call whose answer is unknown counts as paid.
--
-- If the provider still keeps the answer to an earlier call, that call is named instead, with the provider's id and the key
-- that it was made with, and none is begun: it costs nothing, so neither the bound nor the gate is asked.
--
-- The permit from the claim counts for the tenth of a second in which it was taken. The provider counts arrivals, so one
-- that is older now is stamped anew; one that has left the window, or was never taken, needs room. The gate is locked before
-- the job, as in the claim. A key without a gate has no limit.
--
-- A job that may not pass waits for as long as the gate is closed; not at all if there is another way for it: another key of
-- the fleet lets calls through, or a breaker is open and the job names a second provider.
WITH kept AS MATERIALIZED (
  SELECT number, provider_ref, key_label FROM generation.provider_call
   WHERE job_id = %(job_id)s AND provider = %(provider)s AND resumable
   ORDER BY number DESC LIMIT 1
), gate AS MATERIALIZED (
  SELECT * FROM generation.provider_gate
   WHERE key_label = %(key_label)s AND NOT EXISTS (SELECT FROM kept)
     FOR NO KEY UPDATE
), job AS MATERIALIZED (
  SELECT id, fallback_provider, cancel_requested_at IS NOT NULL AS cancel_requested FROM generation.generation_job
   WHERE id = %(job_id)s AND lease_token = %(token)s AND status = 'processing' AND (SELECT count(*) FROM gate) >= 0
     FOR NO KEY UPDATE
), past AS (
  SELECT count(*) AS calls, count(*) FILTER (WHERE spent IS DISTINCT FROM false) AS paid
    FROM generation.provider_call WHERE job_id = %(job_id)s
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS now, job.* FROM job
), counted AS MATERIALIZED (
  SELECT g.key_label, g.provider, g.calls_per_minute, g.opened_for, g.closed_for, now, clock.fallback_provider,
         greatest(g.head, generation.gate_decisecond(now)) AS decisecond, generation.gate_window(g.used, g.head, generation.gate_decisecond(now)) AS window_now,
         greatest(extract(epoch FROM g.closed_until - now), 0)::float8 AS limited_for,
         CASE WHEN g.breaker = 'open' AND g.probe_job IS DISTINCT FROM clock.id
              THEN greatest(extract(epoch FROM g.open_until - now), 1)::float8 ELSE 0 END AS open_for
    FROM gate g CROSS JOIN clock
), judged AS MATERIALIZED (
  SELECT *, CASE WHEN open_for > 0 THEN open_for
                 WHEN limited_for > 0 THEN limited_for
                 WHEN NOT has_permit AND generation.gate_sum(window_now) >= calls_per_minute THEN greatest(generation.gate_room_in(window_now, decisecond, now), 0.1)
            END AS closed,
            CASE WHEN open_for > 0 THEN opened_for
                 WHEN limited_for > 0 THEN closed_for
                 ELSE format('%%s calls a minute are used up', calls_per_minute) END AS reason
    FROM (SELECT *, coalesce(window_now[greatest(0, least(606, 606 - decisecond + %(permit)s::bigint))::int] > 0, false) AS has_permit FROM counted) c
), verdict AS MATERIALIZED (
  SELECT *, CASE WHEN closed > 0 AND (
                   open_for > 0 AND fallback_provider IS NOT NULL
                   OR EXISTS (SELECT FROM generation.provider_gate o JOIN generation.worker_process w ON o.key_label = ANY (w.keys)
                               WHERE o.provider = t.provider AND o.key_label <> t.key_label AND o.breaker = 'closed'
                                 AND coalesce(o.closed_until < t.now, true) AND w.seen_at > t.now - interval '2 minutes'))
                 THEN 0 ELSE closed END AS wait
    FROM judged t
), begun AS (
  INSERT INTO generation.provider_call (job_id, number, lease_token, provider, key_label, started_at)
  SELECT clock.id, past.calls + 1, %(token)s, %(provider)s, %(key_label)s, now
    FROM clock, past
   WHERE NOT cancel_requested AND past.paid < %(max_paid_calls)s AND NOT EXISTS (SELECT FROM kept)
     AND NOT EXISTS (SELECT FROM verdict WHERE wait IS NOT NULL)
  RETURNING number
), stamped AS (
  UPDATE generation.provider_gate g SET used = generation.gate_stamp(c.window_now, c.decisecond, CASE WHEN c.has_permit THEN %(permit)s::bigint END), head = c.decisecond
    FROM verdict c
   WHERE g.key_label = c.key_label AND EXISTS (SELECT FROM begun)
     AND (NOT c.has_permit OR c.decisecond > %(permit)s::bigint + 1)
  RETURNING g.head
)
SELECT clock.cancel_requested, past.paid, coalesce(kept.number, (SELECT number FROM begun)) AS number, kept.provider_ref AS resume,
       coalesce(kept.key_label, %(key_label)s) AS key_label,
       EXISTS (SELECT FROM generation.worker_process w
                WHERE kept.key_label = ANY (w.keys) AND w.seen_at > statement_timestamp() - interval '2 minutes') AS key_is_held,
       coalesce((SELECT head FROM stamped), %(permit)s::bigint) AS permit, verdict.wait, verdict.reason,
       extract(epoch FROM clock.now - statement_timestamp())::float8 AS stamped_after
  FROM clock CROSS JOIN past LEFT JOIN kept ON NOT clock.cancel_requested LEFT JOIN verdict ON true
