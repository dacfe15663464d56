-- A row is a key and a moment from which on more calls began within a minute than its gate allows. Somebody has changed
-- the gate by hand, or it was changed while calls were under way. The provider answers with 429, which costs time only.
SELECT key_label, from_then_on, calls, calls_per_minute
  FROM (SELECT c.key_label, c.started_at AS from_then_on, g.calls_per_minute,
               count(*) OVER (PARTITION BY c.key_label ORDER BY c.started_at
                              RANGE BETWEEN CURRENT ROW AND interval '60 seconds' FOLLOWING) AS calls
          FROM provider_call c JOIN provider_gate g USING (key_label)
         WHERE c.started_at >= g.limited_since) minute
 WHERE calls > calls_per_minute
