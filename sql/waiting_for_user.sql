-- READS ONLY
-- What a user waits for, and how many jobs go before each in its lane (counted up to 10000): psql -v user=ada -f
-- waiting_for_user.sql; without a user, the one who waits for most. A job that is scheduled or rate_limited gets its
-- place in line when it is due. At most 20 jobs are shown, in the order in which they will start.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?user}
\else
  SELECT coalesce((SELECT user_id FROM generation_job WHERE status IN ('pending', 'scheduled', 'rate_limited')
                    GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT 1), '') AS "user" \gset
\endif
SELECT j.id, j.user_id, j.status, j.kind, j.provider, j.priority, j.run_at,
       CASE j.status WHEN 'pending' THEN (
         SELECT count(*) FROM (
           SELECT FROM generation_job b
            WHERE b.status = 'pending' AND b.provider = j.provider AND NOT b.parked
              AND (b.priority, b.position, b.id) < (j.priority, j.position, j.id)
            LIMIT 10000) AS before) END AS jobs_before
  FROM generation_job j
 WHERE j.user_id = :'user' AND j.status IN ('pending', 'scheduled', 'rate_limited')
 ORDER BY j.status <> 'pending', CASE j.status WHEN 'pending' THEN j.priority END,
          CASE j.status WHEN 'pending' THEN j.position ELSE j.run_at END, j.id
 LIMIT 20;
