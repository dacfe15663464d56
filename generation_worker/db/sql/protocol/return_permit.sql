-- Gives back the permit of an attempt that has made no call with it: its input could not be read, say, or the gate closed. If
-- it was the probe of an open breaker, the next job may be it at once.
--
-- An attempt that has begun a call keeps its permit, sent or not: the fence is its lease token.
WITH gate AS MATERIALIZED (
  SELECT *, least(606, 606 - head + %(permit)s::bigint) AS place FROM generation.provider_gate
   WHERE key_label = %(key_label)s
     AND NOT EXISTS (SELECT FROM generation.provider_call WHERE job_id = %(job_id)s AND lease_token = %(token)s)
     FOR NO KEY UPDATE
)
UPDATE generation.provider_gate g
   SET used = CASE WHEN gate.place > 0 AND gate.used[gate.place::int] > 0 THEN generation.gate_count(gate.used, gate.place, -1) ELSE gate.used END,
       open_until = CASE WHEN g.probe_job = %(job_id)s::uuid THEN least(g.open_until, clock_timestamp()) ELSE g.open_until END,
       probe_job = nullif(g.probe_job, %(job_id)s::uuid)
  FROM gate
 WHERE g.key_label = gate.key_label
