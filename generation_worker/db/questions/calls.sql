-- What came of the calls within the last %(seconds)s seconds, by key, model and outcome: how many, how long they took, and
-- how many were paid for without an image, or may have been. Looks at a bounded number of calls, the latest ones.
WITH latest AS MATERIALIZED (
  SELECT provider, key_label, model, milliseconds, spent, error_code, finished_at FROM provider_call
   WHERE started_at > statement_timestamp() - make_interval(secs => %(seconds)s)
   ORDER BY started_at DESC LIMIT %(cap)s
)
SELECT provider, key_label, model, CASE WHEN finished_at IS NOT NULL THEN coalesce(error_code, 'ok') END AS outcome,
       count(*) AS calls, avg(milliseconds)::float8 AS mean_milliseconds,
       count(*) FILTER (WHERE spent AND error_code IS NOT NULL) AS paid_in_vain,
       count(*) FILTER (WHERE spent IS NULL AND finished_at IS NOT NULL) AS perhaps_paid,
       (SELECT count(*) < %(cap)s FROM latest) AS exact
  FROM latest GROUP BY provider, key_label, model, outcome
 ORDER BY provider, key_label, model, calls DESC, outcome LIMIT 500
