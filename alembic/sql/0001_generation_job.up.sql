-- The queue, the credits and the record of provider calls.
--
-- What must never happen is refused here, by CHECKs and triggers, so that a fault in a worker or a hand in psql
-- cannot do it either. Errors of ours have SQLSTATEs of their own:
--   GW001 a transition that the state chart does not have     GW004 one idempotency key, two different requests
--   GW002 a change of a final job                             GW005 the balance cannot cover what is waiting
--   GW003 a change of an append-only row                      GW006 a request that is not valid

-- Time-ordered (UUID version 7), so that new rows land at the end of the index, and not to be guessed, so that it may
-- stand in a public link. Postgres has a function for it only from version 18 on.
CREATE FUNCTION generation_uuid() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid
$$;

CREATE TABLE generation_job (
  id                  uuid        PRIMARY KEY DEFAULT generation_uuid(),
  kind                text        NOT NULL,
  user_id             text        NOT NULL,
  status              text        NOT NULL DEFAULT 'pending',
  provider            text        NOT NULL,
  payload             jsonb       NOT NULL,
  result              jsonb,
  cost                bigint      NOT NULL,
  debited             boolean     NOT NULL DEFAULT false,
  priority            integer     NOT NULL DEFAULT 0,
  position            timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempt             integer     NOT NULL DEFAULT 0,
  max_attempts        integer,
  crashes             integer     NOT NULL DEFAULT 0,
  waits               integer     NOT NULL DEFAULT 0,
  run_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
  deadline_at         timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 day',
  lease_token         uuid,
  locked_by           text,
  locked_at           timestamptz,
  lease_expires_at    timestamptz,
  cancel_requested_at timestamptz,
  batch_id            uuid,
  batch_index         integer     NOT NULL DEFAULT 0,
  idempotency_key     text,
  request_hash        bytea,
  retry_of            uuid,
  error_code          text,
  error_message       text,
  created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at          timestamptz,
  finished_at         timestamptz,

  CONSTRAINT kind_is_known CHECK (kind IN ('text_to_image', 'image_conversion', 'image_processing')),
  CONSTRAINT status_is_known CHECK (
    status IN ('pending', 'scheduled', 'rate_limited', 'processing', 'completed', 'failed', 'cancelled')),
  CONSTRAINT only_processing_needs_no_provider CHECK ((kind = 'image_processing') = (provider = 'none')),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT cost_is_not_negative CHECK (cost BETWEEN 0 AND 1000000000),
  CONSTRAINT work_that_costs_is_debited CHECK (cost = 0 OR debited OR status NOT IN ('processing', 'completed')),
  CONSTRAINT only_a_cost_is_debited CHECK (cost > 0 OR NOT debited),
  CONSTRAINT attempt_in_bounds CHECK (attempt >= 0 AND attempt <= max_attempts),
  CONSTRAINT max_attempts_in_bounds CHECK (max_attempts BETWEEN 1 AND 100),
  CONSTRAINT counters_are_not_negative CHECK (crashes >= 0 AND waits >= 0),
  CONSTRAINT processing_is_leased CHECK (
    num_nulls(lease_token, locked_by, locked_at, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 4 END),
  CONSTRAINT work_has_started CHECK (started_at IS NOT NULL OR status NOT IN ('processing', 'completed')),
  CONSTRAINT final_is_finished CHECK (
    (finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
  CONSTRAINT completed_has_a_result CHECK ((result IS NOT NULL) = (status = 'completed')),
  CONSTRAINT failed_has_a_code CHECK (error_code IS NOT NULL OR status <> 'failed'),
  CONSTRAINT error_message_is_bounded CHECK (length(error_message) <= 2000),
  CONSTRAINT key_and_hash_go_together CHECK ((idempotency_key IS NULL) = (request_hash IS NULL)),
  CONSTRAINT idempotency_key_is_bounded CHECK (length(idempotency_key) BETWEEN 1 AND 255),
  CONSTRAINT batch_index_is_not_negative CHECK (batch_index >= 0)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- A claim reads the head of its lane in this index. Jobs that are not due, or done, are not in it.
CREATE INDEX generation_job_claim ON generation_job (provider, priority, position, id) WHERE status = 'pending';
CREATE INDEX generation_job_due ON generation_job (run_at) WHERE status IN ('scheduled', 'rate_limited');
-- Not on lease_expires_at: every heartbeat would then write to the index (and no update would be HOT).
CREATE INDEX generation_job_leased ON generation_job (id) WHERE status = 'processing';
-- The end of a user's line, and what they have in it that is not paid yet.
CREATE INDEX generation_job_waiting ON generation_job (user_id, status, position) INCLUDE (cost, debited)
  WHERE status IN ('pending', 'scheduled', 'rate_limited');
-- Neither leased nor finished: waiting. Not in terms of the status, or a claim could use it: when jobs come in after the
-- statistics were gathered, it looks like the cheaper way to the few that are expected, and all would be read and sorted.
CREATE INDEX generation_job_deadline ON generation_job (deadline_at) WHERE lease_token IS NULL AND finished_at IS NULL;
CREATE INDEX generation_job_finished ON generation_job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX generation_job_batch ON generation_job (batch_id) WHERE batch_id IS NOT NULL;
CREATE UNIQUE INDEX generation_job_idempotency ON generation_job (user_id, idempotency_key, batch_index)
  WHERE idempotency_key IS NOT NULL;
-- A dead letter is replayed once; to try again, replay the replay.
CREATE UNIQUE INDEX generation_job_replay ON generation_job (retry_of) WHERE retry_of IS NOT NULL;

-- One row for each attempt that has ended, written by its settlement. No foreign key: it would cost every settlement
-- a lock and a trigger for each job, and pruning removes both together.
CREATE TABLE job_attempt (
  job_id        uuid        NOT NULL,
  lease_token   uuid        NOT NULL,
  attempt       integer     NOT NULL,
  worker        text        NOT NULL,
  started_at    timestamptz NOT NULL,
  ended_at      timestamptz NOT NULL,
  outcome       text        NOT NULL,
  error_code    text,
  error_message text,
  PRIMARY KEY (job_id, lease_token),
  CONSTRAINT outcome_is_known CHECK (
    outcome IN ('completed', 'failed', 'blocked', 'rate_limited', 'cancelled', 'crashed', 'released'))
);

-- Written before the request leaves and finished after it: a row without finished_at is a call whose answer was lost.
-- spent: whether the provider charges for it; null while nobody knows.
CREATE TABLE provider_call (
  job_id        uuid        NOT NULL,
  number        integer     NOT NULL,
  lease_token   uuid        NOT NULL,
  provider      text        NOT NULL,
  key_label     text        NOT NULL,
  model         text,
  provider_ref  text,
  started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at   timestamptz,
  milliseconds  integer,
  spent         boolean,
  usage         jsonb,
  error_code    text,
  PRIMARY KEY (job_id, number),
  CONSTRAINT number_counts_from_one CHECK (number >= 1),
  CONSTRAINT finished_calls_have_a_time CHECK ((finished_at IS NULL) = (milliseconds IS NULL))
);

-- entries is the number of the account's last entry. fair_weight: a user with 2 waits as if each job were half as long.
CREATE TABLE credit_account (
  user_id     text        PRIMARY KEY,
  balance     bigint      NOT NULL DEFAULT 0,
  entries     bigint      NOT NULL DEFAULT 0,
  fair_weight real        NOT NULL DEFAULT 1,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT balance_is_not_negative CHECK (balance >= 0),
  CONSTRAINT fair_weight_is_positive CHECK (fair_weight > 0)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE credit_entry (
  user_id         text        NOT NULL,
  seq             bigint      NOT NULL,
  kind            text        NOT NULL,
  amount          bigint      NOT NULL,
  balance_after   bigint      NOT NULL,
  job_id          uuid,
  refund_of       bigint,
  idempotency_key text,
  reason          text,
  actor           text,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (user_id, seq),
  CONSTRAINT kind_is_known CHECK (kind IN ('grant', 'debit', 'refund', 'adjustment')),
  CONSTRAINT amount_has_its_sign CHECK (
    CASE kind WHEN 'debit' THEN amount < 0 WHEN 'adjustment' THEN amount <> 0 ELSE amount > 0 END),
  CONSTRAINT balance_is_not_negative CHECK (balance_after >= 0),
  CONSTRAINT work_names_its_job CHECK ((job_id IS NOT NULL) = (kind IN ('debit', 'refund'))),
  CONSTRAINT refund_points_at_its_debit CHECK ((refund_of IS NOT NULL) = (kind = 'refund')),
  FOREIGN KEY (user_id, refund_of) REFERENCES credit_entry (user_id, seq)
);
CREATE UNIQUE INDEX credit_entry_once_a_job ON credit_entry (job_id, kind) WHERE job_id IS NOT NULL;
CREATE UNIQUE INDEX credit_entry_idempotency ON credit_entry (user_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;

-- What the whole fleet follows: prices, the default provider, the pace of the fair order.
CREATE TABLE fleet_setting (
  name       text        PRIMARY KEY,
  value      jsonb       NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_by text
);
INSERT INTO fleet_setting (name, value) VALUES
  ('price.text_to_image', '1'), ('price.image_conversion', '1'), ('price.image_processing', '0'),
  ('caller_may_set_cost', 'false'), ('seconds_per_credit', '10');

CREATE TABLE worker_process (
  id          text        PRIMARY KEY,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  asleep      boolean     NOT NULL DEFAULT false,
  version     text        NOT NULL,
  providers   text[]      NOT NULL,
  concurrency integer     NOT NULL,
  busy        integer     NOT NULL DEFAULT 0,
  stuck       integer     NOT NULL DEFAULT 0
);

-- A task belongs to whoever finds it due: there is no leader to lose.
CREATE TABLE maintenance_task (
  name       text        PRIMARY KEY,
  next_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_ok_at timestamptz,
  last_error text
);
INSERT INTO maintenance_task (name) VALUES ('expire'), ('prune'), ('reclaim');

-- The state chart -----------------------------------------------------------------------------------------------------

CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status IN ('completed', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'generation_job %: it is % and final; final jobs never change', OLD.id, OLD.status
      USING ERRCODE = 'GW002', HINT = 'To try again, replay it: generation-worker job retry ' || OLD.id;
  END IF;
  RAISE EXCEPTION 'generation_job %: from % (attempt %, debited %) to % (attempt %, debited %) is not in the state chart',
    OLD.id, OLD.status, OLD.attempt, OLD.debited, NEW.status, NEW.attempt, NEW.debited USING ERRCODE = 'GW001';
END $$;

-- The condition stands in WHEN, which costs an allowed update no function call.
CREATE TRIGGER state_chart BEFORE UPDATE ON generation_job FOR EACH ROW WHEN (
  NOT CASE OLD.status
    WHEN 'processing' THEN
      CASE NEW.status
        WHEN 'pending'      THEN NEW.attempt = OLD.attempt - 1
        WHEN 'rate_limited' THEN NEW.attempt = OLD.attempt - 1
        ELSE NEW.attempt = OLD.attempt
      END AND NEW.debited = OLD.debited
    WHEN 'pending' THEN
      CASE NEW.status
        WHEN 'processing' THEN NEW.attempt = OLD.attempt + 1 AND NEW.debited >= OLD.debited
        WHEN 'scheduled' THEN false
        WHEN 'rate_limited' THEN false
        WHEN 'completed' THEN false
        ELSE NEW.attempt = OLD.attempt AND NEW.debited = OLD.debited
      END
    WHEN 'completed' THEN false
    WHEN 'failed' THEN false
    WHEN 'cancelled' THEN false
    ELSE -- scheduled, rate_limited
      NEW.status IN (OLD.status, 'pending', 'failed', 'cancelled')
      AND NEW.attempt = OLD.attempt AND NEW.debited = OLD.debited
  END)
EXECUTE FUNCTION refuse_transition();

CREATE FUNCTION refuse_change_of_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'generation_job %: what a job asks for and who pays for it never change', OLD.id
    USING ERRCODE = 'GW003', HINT = 'Cancel it and enqueue another.';
END $$;

CREATE TRIGGER request_never_changes
  BEFORE UPDATE OF id, kind, user_id, payload, cost, idempotency_key, request_hash, batch_id, batch_index, retry_of, created_at
  ON generation_job FOR EACH ROW EXECUTE FUNCTION refuse_change_of_request();

-- Nothing may start in the middle of its life: that would be work without a debit or an end without a beginning.
CREATE FUNCTION refuse_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: a new job is pending or scheduled, undebited, with attempt 0, not %', NEW.status
    USING ERRCODE = 'GW001';
END $$;

CREATE TRIGGER state_chart_begins BEFORE INSERT ON generation_job FOR EACH ROW
  WHEN (NEW.status NOT IN ('pending', 'scheduled') OR NEW.debited OR NEW.attempt <> 0 OR NEW.crashes <> 0)
  EXECUTE FUNCTION refuse_insert();

-- A job that is not final may hold credits; deleting it would lose them.
CREATE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'generation_job %: it is %; only final jobs may be deleted', OLD.id, OLD.status
    USING ERRCODE = 'GW001', HINT = 'Cancel it first: generation-worker job cancel ' || OLD.id;
END $$;

CREATE TRIGGER state_chart_ends BEFORE DELETE ON generation_job FOR EACH ROW
  WHEN (OLD.status NOT IN ('completed', 'failed', 'cancelled'))
  EXECUTE FUNCTION refuse_delete();

CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: emptied at once it would lose the credits that its jobs hold'
    USING ERRCODE = 'GW001', HINT = 'Final jobs may be deleted; cancel the others first.';
END $$;

CREATE TRIGGER state_chart_ends_whole BEFORE TRUNCATE ON generation_job
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- Money ---------------------------------------------------------------------------------------------------------------

-- Gives back what a job was debited, in the transaction that makes it fail or be cancelled, whoever does that: a worker,
-- cancel_generation or a person in psql. The amount is the debit's. A second refund of a job cannot happen: a final job
-- never changes, and the unique index on (job_id, kind) would raise.
CREATE FUNCTION refund_generation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  debit credit_entry;
  account credit_account;
BEGIN
  SELECT * INTO STRICT debit FROM credit_entry WHERE job_id = NEW.id AND kind = 'debit';
  UPDATE credit_account SET balance = balance - debit.amount, entries = entries + 1
   WHERE user_id = debit.user_id RETURNING * INTO STRICT account;
  INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, job_id, refund_of, reason)
  VALUES (debit.user_id, account.entries, 'refund', -debit.amount, account.balance, NEW.id, debit.seq, NEW.status);
  RETURN NULL;
END $$;

CREATE TRIGGER refund AFTER UPDATE OF status ON generation_job FOR EACH ROW
  WHEN (NEW.debited AND NEW.status IN ('failed', 'cancelled'))
  EXECUTE FUNCTION refund_generation();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: it cannot be changed by %', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'GW003', HINT = 'Correct a balance with an adjustment: generation-worker credits adjust';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON credit_entry
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON credit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
