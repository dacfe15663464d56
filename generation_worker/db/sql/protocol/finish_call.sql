-- Records what came of a call, and what it says of the key that it was made with. Not fenced: what was paid is true whoever
-- holds the lease now.
--
-- A call is finished once. Only one whose answer the provider keeps may be asked for again, and end otherwise (the answer is
-- gone, or is no image); what is known of its price and its time stays.
--
-- verdict: «ok» closes the breaker; «failed» opens it when so many calls have failed in a row, or if this was the probe;
-- «refused» (the key, the bill, a permission) opens it at once; «limited» closes the gate for as long as the provider says,
-- or longer each time if it says nothing. While a breaker is open, only its probe opens it again, for twice as long. Null
-- says nothing. A gate that is as it should be is not written.
--
-- A gate that is closed for longer already keeps its reason.
--
-- Comes back: the gate before and after, and whether there is another way for the job: another key of the fleet lets calls
-- through, or the breaker is open and the job names a second provider.
WITH call AS (
  UPDATE generation.provider_call
     SET finished_at = coalesce(finished_at, clock_timestamp()), milliseconds = coalesce(milliseconds, %(milliseconds)s),
         spent = CASE WHEN spent THEN true ELSE %(spent)s END, model = coalesce(%(model)s, model),
         provider_ref = coalesce(%(provider_ref)s, provider_ref), usage = coalesce(%(usage)s::jsonb, usage),
         error_code = %(error_code)s, resumable = resumable AND %(error_code)s::text IS NULL
   WHERE job_id = %(job_id)s AND number = %(number)s AND (finished_at IS NULL OR resumable)
  RETURNING key_label, provider, job_id
), gate AS MATERIALIZED (
  SELECT g.*, call.job_id, g.probe_job IS NOT DISTINCT FROM call.job_id AS is_probe FROM generation.provider_gate g JOIN call USING (key_label)
   WHERE %(verdict)s::text IS NOT NULL
     AND (%(verdict)s <> 'ok' OR g.failures > 0 OR g.limits > 0 OR g.breaker = 'open')
     FOR NO KEY UPDATE OF g
), previous AS MATERIALIZED (
  SELECT *,
         CASE breaker WHEN 'open' THEN is_probe AND %(verdict)s IN ('failed', 'refused')
              ELSE %(verdict)s = 'refused' OR %(verdict)s = 'failed' AND failures + 1 >= %(most_failures)s END AS opens,
         breaker = 'open' AND (%(verdict)s = 'ok' OR %(verdict)s = 'limited' AND is_probe) AS closes,
         CASE %(verdict)s WHEN 'limited' THEN
           now + make_interval(secs => coalesce(%(wait)s::float8, least(60, 5 * 2.0::float8 ^ least(limits, 10)))) END AS closes_until
    FROM gate CROSS JOIN LATERAL (SELECT clock_timestamp() AS now WHERE gate.key_label IS NOT NULL) AS clock
), changed AS (
  UPDATE generation.provider_gate g
     SET limits = CASE %(verdict)s WHEN 'ok' THEN 0 WHEN 'limited' THEN least(t.limits + 1, 1000) ELSE t.limits END,
         failures = CASE WHEN t.opens OR %(verdict)s = 'ok' THEN 0 WHEN %(verdict)s = 'failed' THEN t.failures + 1 ELSE t.failures END,
         closed_until = greatest(t.closed_until, t.closes_until),
         closed_for = CASE WHEN t.closes_until > coalesce(t.closed_until, '-infinity') THEN %(reason)s::text ELSE t.closed_for END,
         breaker = CASE WHEN t.opens THEN 'open' WHEN t.closes THEN 'closed' ELSE t.breaker END,
         openings = CASE WHEN t.opens THEN t.openings + 1 WHEN t.closes THEN 0 ELSE t.openings END,
         opened_at = CASE WHEN t.opens THEN coalesce(t.opened_at, t.now) WHEN NOT t.closes THEN t.opened_at END,
         opened_for = CASE WHEN t.opens THEN %(reason)s::text WHEN NOT t.closes THEN t.opened_for END,
         open_until = CASE WHEN t.opens THEN t.now + make_interval(secs =>
                             least(%(longest)s::float8, %(shortest)s::float8 * 2.0::float8 ^ least(t.openings, 20)))
                           WHEN NOT t.closes THEN t.open_until END,
         probe_job = CASE WHEN NOT (t.opens OR t.closes) THEN t.probe_job END
    FROM previous t
   WHERE g.key_label = t.key_label
  RETURNING g.*
)
SELECT t.breaker AS breaker_before, c.breaker, extract(epoch FROM greatest(c.closed_until, c.open_until) - t.now)::float8 AS closed_for,
       c.breaker = 'open' AND EXISTS (SELECT FROM generation.generation_job j WHERE j.id = t.job_id AND j.fallback_provider IS NOT NULL)
       OR EXISTS (SELECT FROM generation.provider_gate o JOIN generation.worker_process w ON o.key_label = ANY (w.keys)
                   WHERE o.provider = t.provider AND o.key_label <> t.key_label AND o.breaker = 'closed'
                     AND coalesce(o.closed_until < t.now, true) AND w.seen_at > t.now - interval '2 minutes') AS has_alternative
  FROM previous t JOIN changed c USING (key_label)
