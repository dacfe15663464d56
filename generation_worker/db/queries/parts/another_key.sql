-- Whether another key of the same provider lets calls through, and a living worker holds it: of the gate t, as it is now.
EXISTS (SELECT FROM provider_gate o JOIN worker_process w ON o.key_label = ANY (w.keys)
         WHERE o.provider = t.provider AND o.key_label <> t.key_label AND o.breaker = 'closed'
           AND coalesce(o.closed_until < t.now, true) AND w.seen_at > t.now - interval '2 minutes')
