-- READS ONLY
-- What ended in each of the last :hours hours (24 unless you say otherwise: psql -v hours=72 …), and how long
-- completed jobs took from their first start. If fewer and fewer are completed, see failures_by_code.sql.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?hours}
\else
  \set hours 24
\endif
SELECT date_trunc('hour', finished_at) AS hour,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       round(extract(epoch FROM avg(finished_at - started_at) FILTER (WHERE status = 'completed')), 1) AS mean_seconds,
       round(extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - started_at)
                                FILTER (WHERE status = 'completed')), 1) AS p95_seconds
  FROM generation_job
 WHERE finished_at >= date_trunc('hour', now()) - make_interval(hours => :'hours'::int - 1)
 GROUP BY 1
 ORDER BY 1 DESC;
