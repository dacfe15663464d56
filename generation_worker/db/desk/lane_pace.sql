-- What a lane has been doing, for an estimate: how long its jobs took within the last hour, how many slots its living
-- workers have and how many of them are taken, and what the gates of its keys let through. A lane that has no limited
-- key has no gate.
WITH latest AS MATERIALIZED (
  SELECT provider, status, extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation_job
   WHERE finished_at > statement_timestamp() - interval '1 hour' ORDER BY finished_at DESC LIMIT %(cap)s
), living AS MATERIALIZED (
  SELECT concurrency, providers, keys FROM worker_process
   WHERE seen_at > statement_timestamp() - interval '2 minutes'
), gate AS MATERIALIZED (
  SELECT calls_per_minute,
         greatest(extract(epoch FROM CASE breaker WHEN 'open' THEN open_until ELSE closed_until END
                                     - statement_timestamp()), 0)::float8 AS shut
    FROM provider_gate
   WHERE provider = %(provider)s AND EXISTS (SELECT FROM living WHERE key_label = ANY (living.keys))
)
SELECT (SELECT avg(seconds) FROM latest WHERE provider = %(provider)s AND status = 'completed') AS mean_seconds,
       (SELECT coalesce(sum(concurrency), 0)::integer FROM living
         WHERE %(provider)s = 'none' OR %(provider)s = ANY (providers)) AS slots,
       (SELECT count(*)::integer FROM (SELECT FROM generation_job WHERE status = 'processing' LIMIT %(cap)s) AS taken)
         AS taken,
       (SELECT sum(calls_per_minute)::integer FROM gate) AS per_minute,
       (SELECT coalesce(min(shut), 0) FROM gate) AS shut_seconds
