-- Fails jobs that still wait after their deadline (those that nobody has leased and nothing has ended); the table's
-- trigger refunds those that were debited. Their accounts are locked first, in the order of their names, as in a
-- settlement.
WITH late AS MATERIALIZED (
  SELECT id, user_id, debited FROM generation.generation_job
   WHERE lease_token IS NULL AND finished_at IS NULL AND deadline_at <= statement_timestamp()
   ORDER BY deadline_at LIMIT %(limit)s
     FOR NO KEY UPDATE SKIP LOCKED
), account AS MATERIALIZED (
  SELECT user_id FROM generation.credit_account
   WHERE user_id = ANY (ARRAY(SELECT user_id FROM late WHERE debited))
   ORDER BY user_id FOR NO KEY UPDATE
)
UPDATE generation.generation_job j
   SET status = 'failed', error_code = 'deadline_exceeded', finished_at = clock_timestamp(),
       error_message = 'The job was not done by its deadline.'
  FROM late, (SELECT count(*) FROM account) AS accounts_are_locked
 WHERE j.id = late.id
RETURNING j.id::text, (extract(epoch FROM clock_timestamp()) - extract(epoch FROM j.created_at))::float8 AS age, j.traceparent
