-- Telling the app. What is to be told is written in the transaction in which it happens, and sent by a worker's courier.
--
-- An endpoint is an address that is told of some events, of all users or of one. Its secret must be readable for whoever
-- signs; sql/roles.sql shows it to workers only. While a new secret is introduced the old one signs as well.
-- What an endpoint is told of never changes, so that it can be checked whether it was: who wants something else adds another.
--   enabled_since   while it is disabled nothing is written for it
--   failing_since   the first failure after the last success
--   closed_until    the endpoint has asked not to be called before
CREATE TABLE webhook_endpoint (
  id               uuid        PRIMARY KEY DEFAULT generation_uuid(),
  url              text        NOT NULL,
  events           text[]      NOT NULL,
  user_id          text,
  secret           text        NOT NULL,
  old_secret       text,
  old_secret_until timestamptz,
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by       text,
  enabled_since    timestamptz NOT NULL DEFAULT clock_timestamp(),
  failing_since    timestamptz,
  closed_until     timestamptz,
  disabled_at      timestamptz,
  disabled_for     text,
  CONSTRAINT url_is_bounded CHECK (length(url) BETWEEN 1 AND 2000),
  CONSTRAINT events_are_known CHECK (cardinality(events) > 0 AND events <@ ARRAY[
    'job.completed', 'job.failed', 'job.cancelled', 'batch.finished', 'breaker.opened']),
  CONSTRAINT a_user_is_not_told_of_providers CHECK (user_id IS NULL OR NOT 'breaker.opened' = ANY (events)),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT secret_can_sign CHECK (secret ~ '^whsec_' AND old_secret ~ '^whsec_'),
  CONSTRAINT old_secret_ends CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
  CONSTRAINT disabled_for_a_reason CHECK ((disabled_at IS NULL) = (disabled_for IS NULL)),
  CONSTRAINT reason_is_bounded CHECK (length(disabled_for) <= 500)
);

-- One message for one endpoint. The id is what Standard Webhooks calls the message's: the same at each try, as the body is.
-- Taken by a courier, a delivery is due again when its lease is over; lease_token is the fence. No foreign key: it would
-- cost each settlement a lock on the endpoint. What belongs to an endpoint that is gone is never sent, and pruned.
CREATE TABLE webhook_delivery (
  id          uuid        PRIMARY KEY DEFAULT generation_uuid(),
  endpoint_id uuid        NOT NULL,
  event       text        NOT NULL,
  job_id      uuid,
  batch_id    uuid,
  body        text        NOT NULL,
  status      text        NOT NULL DEFAULT 'pending',
  attempts    integer     NOT NULL DEFAULT 0,
  next_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_token uuid,
  last_status integer,
  last_error  text,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  CONSTRAINT status_is_known CHECK (status IN ('pending', 'delivered', 'dead')),
  CONSTRAINT final_is_finished CHECK ((finished_at IS NOT NULL) = (status <> 'pending')),
  CONSTRAINT attempts_are_not_negative CHECK (attempts >= 0),
  CONSTRAINT error_is_bounded CHECK (length(last_error) <= 500)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_at) WHERE status = 'pending';
CREATE INDEX webhook_delivery_created ON webhook_delivery (created_at, id);
CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint_id, created_at, id);
-- Few: those that have failed, and are tried again or given up.
CREATE INDEX webhook_delivery_failed ON webhook_delivery (endpoint_id, created_at, id)
  WHERE status <> 'delivered' AND last_error IS NOT NULL;
-- Each endpoint is told once of a job's end, and of a batch's.
CREATE UNIQUE INDEX webhook_delivery_job ON webhook_delivery (job_id, endpoint_id) WHERE job_id IS NOT NULL;
CREATE UNIQUE INDEX webhook_delivery_batch ON webhook_delivery (batch_id, endpoint_id) WHERE batch_id IS NOT NULL;

-- Batches of which a job has ended: whether it was the last one can only be seen after its transaction, for two may end
-- at the same moment, and neither sees the other. The courier looks, and takes the row away.
CREATE TABLE webhook_batch (
  id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch_id uuid        NOT NULL,
  at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION webhook_moment(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION webhook_body(event text, at timestamptz, data jsonb) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('type', $1, 'timestamp', webhook_moment($2), 'data', $3)::text
$$;

-- Writes what is to be told of jobs that have ended, whoever has ended them: a worker, cancel_generation or a person in
-- psql. Once a statement, for all of its jobs: without an endpoint a settlement of hundreds asks one small question. As
-- the owner: whoever may end a job need have no right to the outbox.
CREATE FUNCTION tell_of_endings() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM webhook_endpoint WHERE disabled_at IS NULL) THEN
    RETURN NULL;
  END IF;
  INSERT INTO webhook_delivery (endpoint_id, event, job_id, body)
  SELECT e.id, 'job.' || j.status, j.id, webhook_body('job.' || j.status, j.finished_at, jsonb_build_object(
           'id', j.id, 'kind', j.kind, 'user_id', j.user_id, 'status', j.status, 'provider', j.provider, 'cost', j.cost,
           'refunded', j.debited AND j.status <> 'completed', 'attempts', j.attempt, 'batch_id', j.batch_id,
           'batch_index', j.batch_index, 'idempotency_key', j.idempotency_key, 'retry_of', j.retry_of, 'result', j.result,
           'error_code', j.error_code, 'error_message', j.error_message, 'created_at', webhook_moment(j.created_at),
           'started_at', webhook_moment(j.started_at), 'finished_at', webhook_moment(j.finished_at)))
    FROM changed j
    JOIN webhook_endpoint e ON 'job.' || j.status = ANY (e.events) AND (e.user_id IS NULL OR e.user_id = j.user_id)
   WHERE j.finished_at IS NOT NULL AND e.disabled_at IS NULL;
  INSERT INTO webhook_batch (batch_id)
  SELECT DISTINCT j.batch_id FROM changed j
   WHERE j.finished_at IS NOT NULL AND j.batch_id IS NOT NULL
     AND EXISTS (SELECT FROM webhook_endpoint e WHERE e.disabled_at IS NULL AND 'batch.finished' = ANY (e.events)
                    AND (e.user_id IS NULL OR e.user_id = j.user_id));
  RETURN NULL;
END $$;

CREATE TRIGGER tell AFTER UPDATE ON generation_job REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION tell_of_endings();

-- A breaker that opens stops what needs its key: for operators, so not for endpoints of one user.
CREATE FUNCTION tell_of_breaker() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO webhook_delivery (endpoint_id, event, body)
  SELECT e.id, 'breaker.opened', webhook_body('breaker.opened', NEW.opened_at, jsonb_build_object(
           'key', NEW.key_label, 'provider', NEW.provider, 'reason', NEW.opened_for,
           'opened_at', webhook_moment(NEW.opened_at), 'open_until', webhook_moment(NEW.open_until)))
    FROM webhook_endpoint e WHERE e.disabled_at IS NULL AND 'breaker.opened' = ANY (e.events);
  RETURN NULL;
END $$;

CREATE TRIGGER tell AFTER UPDATE ON provider_gate FOR EACH ROW
  WHEN (NEW.breaker = 'open' AND OLD.breaker <> 'open') EXECUTE FUNCTION tell_of_breaker();

DO $$
BEGIN
  EXECUTE (SELECT string_agg(format('ALTER FUNCTION %s SET search_path = %I, pg_temp', p.oid::regprocedure, current_schema()), ';')
    FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('tell_of_endings', 'tell_of_breaker'));
END $$;
