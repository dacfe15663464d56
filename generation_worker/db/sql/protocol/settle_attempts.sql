-- Writes how attempts ended: state, attempt history and (by the table's trigger) refunds, for all that wait together.
--
-- The fence is lease_token: a job that was reclaimed meanwhile has another one, is not in «held», and nothing at all is
-- written for it. Whether somebody asked to cancel is read from the locked row, so a request that came a moment ago still
-- counts against another attempt, and never against an image that is there. Rows are locked in the order of their ids and
-- accounts, before a refund touches them, in the order of their names.
--
-- A job that will go on is marked if an answer that is paid for waits for it: a closed gate must not keep that from being
-- fetched and stored.
--
-- Asked again after a lost answer it changes nothing and says the same: its attempts stand in the history, with the outcome
-- that it names. An attempt that was released and then ends after all finds another outcome there, and has lost its lease.
WITH ending AS (
  SELECT * FROM jsonb_to_recordset(%(settlements)s::jsonb) AS ending (
    id uuid, token uuid, outcome text, status text, cancel_status text, delay float8, attempt_step int, crash_step int,
    wait_step int, allowance int, error_code text, error_message text, result jsonb)
), held AS MATERIALIZED (
  SELECT j.id, j.lease_token, j.attempt, j.locked_by, j.locked_at, j.user_id, j.debited,
         CASE WHEN j.cancel_requested_at IS NULL THEN e.status ELSE e.cancel_status END AS status,
         e.outcome, e.delay, e.attempt_step, e.crash_step, e.wait_step, e.allowance, e.error_code, e.error_message, e.result
    FROM generation.generation_job j JOIN ending e ON e.id = j.id AND e.token = j.lease_token
   WHERE j.status = 'processing'
   ORDER BY j.id FOR NO KEY UPDATE OF j
), account AS MATERIALIZED (
  SELECT user_id FROM generation.credit_account
   WHERE user_id = ANY (ARRAY(SELECT user_id FROM held WHERE debited AND status IN ('failed', 'cancelled')))
   ORDER BY user_id FOR NO KEY UPDATE
), settled AS (
  UPDATE generation.generation_job j
     SET status = h.status,
         attempt = j.attempt + CASE WHEN h.status IN ('pending', 'rate_limited') THEN h.attempt_step ELSE 0 END,
         max_attempts = j.max_attempts + coalesce(h.allowance, 0), -- a worker of an older version does not say it
         crashes = j.crashes + h.crash_step, waits = j.waits + h.wait_step,
         has_answer = CASE WHEN h.status IN ('pending', 'scheduled', 'rate_limited')
                           THEN EXISTS (SELECT FROM generation.staged_image s WHERE s.job_id = j.id)
                             OR EXISTS (SELECT FROM generation.provider_call c WHERE c.job_id = j.id AND c.resumable)
                           ELSE j.has_answer END,
         run_at = CASE WHEN h.delay IS NULL THEN j.run_at ELSE clock_timestamp() + make_interval(secs => h.delay) END,
         error_code = h.error_code, error_message = h.error_message, result = h.result,
         lease_token = NULL, locked_by = NULL, locked_at = NULL, lease_expires_at = NULL,
         finished_at = CASE WHEN h.status IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END
    FROM held h, (SELECT count(*) FROM account) AS accounts_are_locked
   WHERE j.id = h.id
  RETURNING j.id, j.status
), history AS (
  INSERT INTO generation.job_attempt (job_id, lease_token, attempt, worker, started_at, ended_at, outcome, error_code, error_message)
  SELECT id, lease_token, attempt, locked_by, locked_at, clock_timestamp(), outcome, error_code, error_message FROM held
)
SELECT id::text, status FROM settled
UNION ALL
SELECT e.id::text, j.status FROM ending e
  JOIN generation.job_attempt a ON a.job_id = e.id AND a.lease_token = e.token AND a.outcome = e.outcome
  JOIN generation.generation_job j ON j.id = e.id
