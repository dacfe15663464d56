-- What `generation-worker demo` asks about its own scene.

-- name: demo_outcomes
-- The jobs of the scene at their end: calls, money and order.
SELECT j.id, j.user_id, j.kind, j.status, j.error_code, j.error_message, j.attempt, j.waits, j.cost,
       c.calls, c.paid, coalesce(e.debited, 0)::int AS debited, coalesce(e.refunded, 0)::int AS refunded,
       extract(epoch FROM j.started_at - j.created_at)::float8 AS waited,
       extract(epoch FROM j.finished_at - j.created_at)::float8 AS took,
       rank() OVER (ORDER BY j.finished_at)::int AS finished_as,
       j.result -> 'images' -> 0 AS image,
       s.behind, s.passed
  FROM generation.generation_job j
 CROSS JOIN LATERAL (SELECT count(*)::int AS calls, (count(*) FILTER (WHERE spent IS DISTINCT FROM false))::int AS paid
                       FROM generation.provider_call c WHERE c.job_id = j.id) c
 CROSS JOIN LATERAL (SELECT -sum(amount) FILTER (WHERE kind = 'debit') AS debited,
                            sum(amount) FILTER (WHERE kind = 'refund') AS refunded
                       FROM generation.credit_entry e WHERE e.job_id = j.id) e
 CROSS JOIN LATERAL (SELECT count(*)::int AS behind,
                            (count(*) FILTER (WHERE s.started_at < j.started_at))::int AS passed
                       FROM generation.generation_job s WHERE s.user_id = %(studio)s AND s.started_at > j.created_at) s
 WHERE j.id = ANY (%(ids)s)

-- name: demo_accounts
-- What was granted, charged and refunded to each user.
SELECT user_id AS user, coalesce(sum(amount) FILTER (WHERE kind = 'grant'), 0)::int AS granted,
       coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::int AS adjusted,
       coalesce(-sum(amount) FILTER (WHERE kind = 'debit'), 0)::int AS debited,
       coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)::int AS refunded,
       a.balance::int AS after
  FROM generation.credit_account a JOIN generation.credit_entry USING (user_id) GROUP BY a.user_id ORDER BY a.created_at, a.user_id

-- name: demo_in_a_call
-- The jobs of a worker whose provider call is under way.
SELECT j.id FROM generation.generation_job j
  JOIN generation.provider_call c ON c.job_id = j.id AND c.lease_token = j.lease_token
 WHERE j.locked_by = %(worker)s AND j.status = 'processing'

-- name: demo_progress
SELECT user_id, status, count(*) AS jobs FROM generation.generation_job GROUP BY user_id, status

-- name: demo_running
-- Which of these jobs have been running for a second.
SELECT id FROM generation.generation_job
 WHERE id = ANY (%(ids)s) AND status = 'processing' AND started_at < statement_timestamp() - interval '1 second'

-- name: demo_databases
-- The databases of the embedded server beside its own.
SELECT datname::text AS name FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')

-- name: demo_drop_database
-- Returns the statement that does it: a name cannot be a parameter.
SELECT format('DROP DATABASE %%I WITH (FORCE)', %(name)s::text) AS statement

-- name: demo_create_database
-- As above. The first template of a fresh server is its own.
SELECT format('CREATE DATABASE %%I TEMPLATE %%I STRATEGY file_copy', %(name)s::text, %(template)s::text) AS statement

-- name: demo_rename_database
-- As above.
SELECT format('ALTER DATABASE %%I RENAME TO %%I', %(name)s::text, %(new)s::text) AS statement

-- name: demo_enqueue
-- What the demo shows to people, for psql; it is not run.
SELECT * FROM generation.enqueue_generation('text_to_image', 'ada', '{"prompt": "a red kite over the sea"}')
