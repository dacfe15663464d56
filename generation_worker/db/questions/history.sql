-- What ended in each of the latest spans of %(seconds)s seconds, the oldest first: the present one is the last, and not over.
-- Looks at a bounded number of jobs, the latest ones; spans that lie before them, or in part, are not exact.
WITH latest AS MATERIALIZED (
  SELECT finished_at, status, extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation_job
   WHERE finished_at > statement_timestamp() - make_interval(secs => %(seconds)s::float8 * %(spans)s)
   ORDER BY finished_at DESC LIMIT %(cap)s
), reach AS (
  SELECT CASE WHEN count(*) < %(cap)s THEN '-infinity'::timestamptz ELSE min(finished_at) END AS since FROM latest
), span AS (
  SELECT date_bin(make_interval(secs => %(seconds)s), statement_timestamp(), 'epoch')
         - make_interval(secs => %(seconds)s::float8 * n) AS since FROM generate_series(0, %(spans)s - 1) AS n
)
SELECT span.since, count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       avg(seconds) FILTER (WHERE status = 'completed') AS mean_seconds, span.since >= reach.since AS exact
  FROM span CROSS JOIN reach
  LEFT JOIN latest ON date_bin(make_interval(secs => %(seconds)s), latest.finished_at, 'epoch') = span.since
 GROUP BY span.since, reach.since ORDER BY span.since
