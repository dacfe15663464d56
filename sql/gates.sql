-- READS ONLY
-- The gates of the providers' keys, one for the whole fleet: what of the limit the last minute has used, and why
-- nothing is asked just now. «open»: the breaker, after repeated failures or because the provider refuses us; one job
-- tries it again at until_then. «limited»: the provider said 429. To have an open breaker tried at once, start a worker
-- anew, or: UPDATE provider_gate SET open_until = now() WHERE breaker = 'open';
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT g.key_label, g.provider,
       gate_sum(gate_window(g.used, g.head, gate_decisecond(now()))) AS used, g.calls_per_minute,
       CASE WHEN g.breaker = 'open' AND g.probe_job IS NOT NULL AND g.open_until > now() THEN 'probing'
            WHEN g.breaker = 'open' THEN 'open' WHEN g.closed_until > now() THEN 'limited' ELSE 'ok' END AS state,
       CASE WHEN g.breaker = 'open' THEN g.open_until
            WHEN g.closed_until > now() THEN g.closed_until END AS until_then,
       CASE WHEN g.breaker = 'open' THEN g.opened_for
            WHEN g.closed_until > now() THEN g.closed_for END AS reason,
       g.opened_at AS open_since,
       (SELECT count(*) FROM worker_process w
         WHERE g.key_label = ANY (w.keys) AND w.seen_at > now() - interval '2 minutes') AS workers
  FROM provider_gate g
 ORDER BY g.provider, g.key_label;
