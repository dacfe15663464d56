-- CHANGES ROWS
-- Lets the leases of jobs run out that have been locked for more than :minutes (15 unless you say otherwise: psql -v
-- minutes=30 -f release_stale.sql), so that a living worker takes them over within seconds. It prints those jobs.
--
-- You seldom need it: a lease runs out by itself a minute after its worker fell silent, and soon after
-- WORKER_JOB_TIMEOUT in a worker that is alive. Choose more minutes than that timeout: a job that is still being made
-- would be made again, and the provider paid again.
--
-- It changes the end of the lease and nothing else. The job stays processing under its token until a worker takes it
-- over, which gives it a new token, so that the old worker can write nothing any more; counts a crash; and then retries
-- it or, when it has crashed too often, fails and refunds it. Setting the status to pending by hand, as one did with
-- plain locks, would skip all of that; the database refuses it.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?minutes}
\else
  \set minutes 15
\endif
UPDATE generation_job
   SET lease_expires_at = least(lease_expires_at, clock_timestamp() - interval '1 second')
 WHERE status = 'processing' AND locked_at < now() - make_interval(mins => :'minutes'::int)
RETURNING id, user_id, provider, attempt, locked_by, locked_at;
