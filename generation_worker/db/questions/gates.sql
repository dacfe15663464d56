-- The gates of the providers' keys: how much of the limit the last minute has used, and why nothing is asked just now, if so.
SELECT key_label, provider, calls_per_minute,
       gate_sum(gate_window(used, head, gate_tenth(statement_timestamp())))::integer AS used,
       CASE WHEN breaker = 'open' AND probe_job IS NOT NULL AND open_until > statement_timestamp() THEN 'probing'
            WHEN breaker = 'open' THEN 'open'
            WHEN closed_until > statement_timestamp() THEN 'limited' ELSE 'ok' END AS state,
       CASE WHEN breaker = 'open' THEN opened_for
            WHEN closed_until > statement_timestamp() THEN closed_for END AS reason,
       greatest(extract(epoch FROM CASE breaker WHEN 'open' THEN open_until ELSE closed_until END - statement_timestamp()),
                0)::float8 AS seconds,
       opened_at, failures,
       (SELECT count(*) FROM worker_process w
         WHERE key_label = ANY (w.keys) AND w.seen_at > statement_timestamp() - interval '2 minutes')::integer AS workers,
       CASE breaker WHEN 'open' THEN open_until ELSE closed_until END AS until, given_per_minute,
       ARRAY(SELECT w.id FROM worker_process w
              WHERE key_label = ANY (w.keys) AND w.seen_at > statement_timestamp() - interval '2 minutes'
              ORDER BY w.id LIMIT 100) AS holders
  FROM provider_gate
 ORDER BY provider, key_label LIMIT %(limit)s
