-- What ended within the last hour and the last day, and what it moved: completed jobs stay charged, the others are refunded
-- if they had been debited. Looks at a bounded number of jobs, the latest ones; if there were
-- more in a window, their pace stands for the rest of it.
WITH latest AS MATERIALIZED (
  SELECT finished_at, status, cost, debited AND status <> 'completed' AS refunded,
         extract(epoch FROM finished_at - started_at)::float8 AS seconds FROM generation_job
   WHERE finished_at > statement_timestamp() - interval '1 day' ORDER BY finished_at DESC LIMIT %(cap)s
), reach AS (
  SELECT CASE WHEN count(*) < %(cap)s THEN 'infinity'::float8
              ELSE extract(epoch FROM statement_timestamp() - min(finished_at))::float8 END AS seconds FROM latest
), ended AS (
  SELECT span.number, span.name, span.seconds, reach.seconds >= span.seconds AS exact,
         greatest(span.seconds / reach.seconds, 1) AS factor,
         count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed,
         count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
         avg(latest.seconds) FILTER (WHERE status = 'completed') AS mean_seconds,
         coalesce(sum(cost) FILTER (WHERE status = 'completed'), 0) AS charged,
         count(*) FILTER (WHERE refunded) AS refunds, coalesce(sum(cost) FILTER (WHERE refunded), 0) AS credits_refunded
    FROM (VALUES (1, 'hour', 3600::float8), (2, 'day', 86400)) AS span (number, name, seconds) CROSS JOIN reach
    LEFT JOIN latest ON latest.finished_at > statement_timestamp() - make_interval(secs => span.seconds)
   GROUP BY span.number, span.name, span.seconds, reach.seconds
)
SELECT name AS span, round(completed * factor)::bigint AS completed, round(failed * factor)::bigint AS failed,
       round(cancelled * factor)::bigint AS cancelled,
       round((completed * factor / seconds * 60)::numeric, 2)::float8 AS per_minute, mean_seconds,
       round((charged * factor)::numeric)::bigint AS credits_charged, round((refunds * factor)::numeric)::bigint AS refunds,
       round((credits_refunded * factor)::numeric)::bigint AS credits_refunded, exact
  FROM ended ORDER BY number
