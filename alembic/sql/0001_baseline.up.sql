-- The database of generation-worker, from top to bottom: tables by subject, what guards them, the functions that apps call,
-- the first rows, and who may use what.
--
-- Everything lives in one schema, written «generation.» here; for another DATABASE_SCHEMA the prefix is replaced when the file
-- is read. Nothing depends on a search path:
--   * SQL functions have bodies that are parsed when the function is made (BEGIN ATOMIC, RETURN), so a caller's path means
--     nothing to them, and the planner may still inline them;
--   * all other functions set the path «pg_catalog, pg_temp» and name everything of ours in full. A function that somebody
--     else defines, even with the exact types of a call (of a VARIADIC function such as format, say), is never found.
--
-- What must never happen is refused here, by constraints and triggers, so that neither a fault in a worker nor a change by
-- hand can do it. Our errors have SQLSTATEs of their own:
--   GW001 a transition that the state chart does not have     GW004 one idempotency key, two different requests
--   GW002 a change of a final job                             GW005 the balance cannot cover what is waiting
--   GW003 a change of an append-only row                      GW006 a request that is not valid

-- Ids -----------------------------------------------------------------------------------------------------------------

-- A UUID of version 7: it begins with the time, so that new rows land at the end of the index, and the rest is random, so
-- that it may stand in a public link. PostgreSQL has a function for it only from version 18 on.
CREATE FUNCTION generation.generation_uuid() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid;

-- The fleet: settings, workers, gates, maintenance ----------------------------------------------------------------------

-- Settings that all workers follow. Names and values:
--   price.K, price.K.P       credits that a job of kind K costs (made by provider P)
--   caller_may_set_cost      whether a request may name another cost than the price
--   providers                the names that a request may name; default_provider: the one for requests that name none
--   seconds_per_credit       how long one credit's worth of work occupies its user's place in the fair order
--   credits_low              the balance below which the event credits.low is sent
--   paused, paused.provider.P, paused.kind.K, paused.user.U    a pause, with its reason; it holds from its commit on
--   calls_per_minute.X       a limit for the key or the provider X, instead of the one that workers were started with
--   concurrency, poll_interval, woken                          for all workers
CREATE TABLE generation.fleet_setting (
  name       text        PRIMARY KEY,
  value      jsonb       NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_by text
);

-- One row for each running worker.
--   asleep   it waits between polls, so an enqueue wakes it with NOTIFY
--   keys     the labels of the provider keys that it can call with
--   busy     threads at work; stuck: threads past their deadline
CREATE TABLE generation.worker_process (
  id          text        PRIMARY KEY,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  asleep      boolean     NOT NULL DEFAULT false,
  version     text        NOT NULL,
  providers   text[]      NOT NULL,
  concurrency integer     NOT NULL,
  busy        integer     NOT NULL DEFAULT 0,
  stuck       integer     NOT NULL DEFAULT 0,
  keys        text[]      NOT NULL DEFAULT '{}'
);

-- One row for each key of a provider: what the whole fleet may still ask of it, and whether to ask at all.
--
-- The row is all there is to know: a statement that waits for its lock reads it fresh, and every other table as it was before
-- the wait.
--   calls_per_minute   the limit in force, since limited_since
--   given_per_minute   the limit that the worker which registered last was started with. It applies unless the fleet has a
--                      setting calls_per_minute.X for the key or its provider.
--   used               calls counted by tenths of a second, the newest last. 606 tenths: the minute in which the provider
--                      counts, and six tenths for the way there, since it counts arrivals and we count departures.
--   head               the number of the newest tenth, counted from the epoch
--   closed_until       the provider said 429: no call before then, for the reason closed_for; limits: how many in a row
--   breaker            open: calls fail, so none are made until open_until, when one job (probe_job) tries
--   failures           failed calls in a row; openings: how often the breaker opened in a row
CREATE TABLE generation.provider_gate (
  key_label        text        PRIMARY KEY,
  provider         text        NOT NULL,
  calls_per_minute integer     NOT NULL,
  given_per_minute integer,
  limited_since    timestamptz NOT NULL DEFAULT clock_timestamp(),
  head             bigint      NOT NULL DEFAULT 0,
  -- Plain storage: an array that is compressed or moved out of the row would be unpacked and packed again at each call.
  used             smallint[]  NOT NULL DEFAULT array_fill(0::smallint, ARRAY[606]),
  closed_until     timestamptz,
  closed_for       text,
  limits           integer     NOT NULL DEFAULT 0,
  breaker          text        NOT NULL DEFAULT 'closed',
  failures         integer     NOT NULL DEFAULT 0,
  openings         integer     NOT NULL DEFAULT 0,
  opened_at        timestamptz,
  open_until       timestamptz,
  opened_for       text,
  probe_job        uuid,
  CONSTRAINT calls_per_minute_in_bounds CHECK (calls_per_minute BETWEEN 1 AND 30000),
  CONSTRAINT given_per_minute_in_bounds CHECK (given_per_minute BETWEEN 1 AND 30000),
  CONSTRAINT used_is_the_window CHECK (array_length(used, 1) = 606 AND array_lower(used, 1) = 1 AND array_ndims(used) = 1),
  CONSTRAINT nothing_is_used_twice CHECK (0 <= ALL (used)),
  CONSTRAINT closed_has_a_reason CHECK ((closed_until IS NULL) = (closed_for IS NULL)),
  CONSTRAINT breaker_is_known CHECK (breaker IN ('closed', 'open')),
  CONSTRAINT open_has_an_end_and_a_reason CHECK (
    num_nulls(opened_at, open_until, opened_for) = CASE breaker WHEN 'open' THEN 0 ELSE 3 END),
  CONSTRAINT only_an_open_breaker_is_probed CHECK (probe_job IS NULL OR breaker = 'open'),
  CONSTRAINT counters_are_not_negative CHECK (limits >= 0 AND failures >= 0 AND openings >= 0)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE generation.provider_gate ALTER COLUMN used SET STORAGE PLAIN;

-- The number of the tenth of a second in which a moment lies.
CREATE FUNCTION generation.gate_decisecond(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN floor(extract(epoch FROM moment) * 10)::bigint;

-- The window moved on to the tenth «head». One that lies behind changes nothing: a clock that is set back frees no room.
CREATE FUNCTION generation.gate_window(used smallint[], old_head bigint, head bigint) RETURNS smallint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN head <= old_head THEN used
            WHEN head - old_head >= 606 THEN array_fill(0::smallint, ARRAY[606])
            ELSE used[head - old_head + 1:606] || array_fill(0::smallint, ARRAY[(head - old_head)::int]) END;

-- How many calls a window holds.
CREATE FUNCTION generation.gate_sum(used smallint[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT coalesce(sum(n), 0) FROM unnest(used) n;
END;

-- Adds a number of calls, which may be negative, at a place of the window.
CREATE FUNCTION generation.gate_count(used smallint[], place bigint, calls bigint) RETURNS smallint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN used[1:place - 1] || (used[place] + calls)::smallint || used[place + 1:606];

-- Moves a permit of the tenth «permit» to the newest tenth, or takes a new one if it has left the window or is null.
CREATE FUNCTION generation.gate_stamp(used smallint[], head bigint, permit bigint) RETURNS smallint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN generation.gate_count(
  CASE WHEN permit > head - 606 THEN generation.gate_count(used, least(606 - (head - permit), 606), -1) ELSE used END, 606, 1);

-- Seconds from a moment until the oldest call leaves the window; 0 if it is empty.
CREATE FUNCTION generation.gate_room_in(used smallint[], head bigint, moment timestamptz) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT coalesce(greatest(0, (head + min(place))::float8 / 10 - extract(epoch FROM moment)::float8), 0)
    FROM generate_subscripts(used, 1) place WHERE used[place] > 0;
END;

-- What a key may call in a minute. A setting written past the checks must not keep a worker from starting.
CREATE FUNCTION generation.gate_limit(key_label text, provider text, given integer) RETURNS integer LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce(
    (SELECT CASE jsonb_typeof(value) WHEN 'number' THEN least(greatest(value::numeric, 1), 30000)::integer END
       FROM generation.fleet_setting WHERE name = 'calls_per_minute.' || key_label),
    (SELECT CASE jsonb_typeof(value) WHEN 'number' THEN least(greatest(value::numeric, 1), 30000)::integer END
       FROM generation.fleet_setting WHERE name = 'calls_per_minute.' || provider),
    given);
END;

-- The pauses that keep a job of this kind, provider and user waiting.
CREATE FUNCTION generation.generation_pauses(kind text, provider text, user_id text)
RETURNS TABLE (name text, value jsonb, updated_at timestamptz, updated_by text)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.name, s.value, s.updated_at, s.updated_by FROM generation.fleet_setting s
   WHERE s.name IN ('paused', 'paused.provider.' || provider, 'paused.kind.' || kind, 'paused.user.' || user_id) ORDER BY s.name;
END;

-- Lets requests name these providers. The first of them becomes the fleet's default if it has none yet.
CREATE FUNCTION generation.offer_providers(names text[]) RETURNS void LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO generation.fleet_setting (name, value) VALUES ('providers', to_jsonb(names))
  ON CONFLICT (name) DO UPDATE SET updated_at = clock_timestamp(),
    value = (SELECT jsonb_agg(DISTINCT n) FROM (SELECT unnest(names) UNION
             SELECT jsonb_array_elements_text(fleet_setting.value)) AS offered (n))
   WHERE NOT fleet_setting.value @> excluded.value;
  INSERT INTO generation.fleet_setting (name, value) SELECT 'default_provider', to_jsonb(names[1]) WHERE names[1] IS NOT NULL
  ON CONFLICT (name) DO NOTHING;
END;

-- A task belongs to whichever worker finds it due: there is no leader to lose.
--   cursor   how far the fleet has come with a task that is larger than one run
--   found    what the last run found, for readers between runs: metrics must not check the ledger at each scrape
CREATE TABLE generation.maintenance_task (
  name       text        PRIMARY KEY,
  next_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_ok_at timestamptz,
  last_error text,
  cursor     text,
  found      jsonb
);

-- Jobs ----------------------------------------------------------------------------------------------------------------

-- One row for each image that somebody asked for.
--   fallback_provider   makes the image instead while every breaker of the provider is open; the two change places then
--   debited             the cost was taken from the user's account
--   position            the place in the fair order: the moment at which the job would start if its user owned a private slot
--   run_at              not before then. deadline_at: failed if not done by then
--   attempt             started attempts; crashes and waits: attempts that ended so, with bounds of their own
--   lease_token         the fence: new at each claim, and named by every later write of that attempt
--   has_answer          a provider's answer that is already paid waits for this job, staged here or kept there. It needs no
--                       permit.
--   held                put aside because its user or kind is paused. It decides nothing: a thousand jobs of a paused user at
--                       the head of the line would be read and skipped by every claim, so they are moved out of its way.
--   retry_of            the failed job that this one replays
--   traceparent         the caller's span in the form of W3C Trace Context. It decides nothing and is no part of what an
--                       idempotency key stands for: a request that is sent again has another span.
CREATE TABLE generation.generation_job (
  id                  uuid        PRIMARY KEY DEFAULT generation.generation_uuid(),
  kind                text        NOT NULL,
  user_id             text        NOT NULL,
  status              text        NOT NULL DEFAULT 'pending',
  provider            text        NOT NULL,
  fallback_provider   text,
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
  has_answer          boolean     NOT NULL DEFAULT false,
  parked                boolean     NOT NULL DEFAULT false,
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
  traceparent         text,
  error_code          text,
  error_message       text,
  created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at          timestamptz,
  finished_at         timestamptz,

  CONSTRAINT kind_is_known CHECK (kind IN ('text_to_image', 'image_conversion', 'image_processing')),
  CONSTRAINT status_is_known CHECK (
    status IN ('pending', 'scheduled', 'rate_limited', 'processing', 'completed', 'failed', 'cancelled')),
  CONSTRAINT only_processing_needs_no_provider CHECK ((kind = 'image_processing') = (provider = 'none')),
  CONSTRAINT fallback_is_another_provider CHECK (
    fallback_provider IS NULL OR fallback_provider NOT IN ('none', provider) AND provider <> 'none'),
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
  CONSTRAINT batch_index_is_not_negative CHECK (batch_index >= 0),
  CONSTRAINT traceparent_is_of_its_form CHECK (
    traceparent ~ '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$')
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- A claim reads the head of its lane in this index. Jobs that are not due, or done, are not in it.
CREATE INDEX generation_job_claim ON generation.generation_job (provider, parked, priority, position, id) WHERE status = 'pending';
CREATE INDEX generation_job_answered ON generation.generation_job (provider) WHERE status = 'pending' AND has_answer;
CREATE INDEX generation_job_movable ON generation.generation_job (provider, priority, position, id)
  WHERE status = 'pending' AND fallback_provider IS NOT NULL;
-- Finds the jobs that were put aside and whose pause is over.
CREATE INDEX generation_job_parked ON generation.generation_job (kind, user_id) WHERE status = 'pending' AND parked;
CREATE INDEX generation_job_due ON generation.generation_job (run_at) WHERE status IN ('scheduled', 'rate_limited');
-- The end of a user's line, and what they have in it that is not paid yet.
CREATE INDEX generation_job_waiting ON generation.generation_job (user_id, status, position) INCLUDE (cost, debited)
  WHERE status IN ('pending', 'scheduled', 'rate_limited');
-- Neither leased nor finished: waiting. Not in terms of the status, or a claim could use it: when jobs come in after the
-- statistics were gathered, it looks like the cheaper way to the few that are expected, and all would be read and sorted.
CREATE INDEX generation_job_deadline ON generation.generation_job (deadline_at) WHERE lease_token IS NULL AND finished_at IS NULL;
-- A user's jobs as they are listed: those that run in one index, all others in another, so that a claim and a settlement write
-- one entry less. Not on lease_expires_at: every heartbeat would then write to the index (and no update would be HOT).
CREATE INDEX generation_job_leased ON generation.generation_job (user_id, created_at DESC, id DESC) WHERE status = 'processing';
CREATE INDEX generation_job_of_user ON generation.generation_job (user_id, created_at DESC, id DESC) WHERE status <> 'processing';
CREATE INDEX generation_job_finished ON generation.generation_job (finished_at) WHERE finished_at IS NOT NULL;
-- Few jobs fail: a list of them must not read all that were completed.
CREATE INDEX generation_job_failed ON generation.generation_job (finished_at, id) WHERE status = 'failed';
CREATE INDEX generation_job_batch ON generation.generation_job (batch_id) WHERE batch_id IS NOT NULL;
CREATE UNIQUE INDEX generation_job_idempotency ON generation.generation_job (user_id, idempotency_key, batch_index)
  WHERE idempotency_key IS NOT NULL;
-- A dead letter is replayed once; to try again, replay the replay.
CREATE UNIQUE INDEX generation_job_replay ON generation.generation_job (retry_of) WHERE retry_of IS NOT NULL;

-- One row for each attempt that has ended, written by its settlement. No foreign key: it would cost every settlement
-- a lock and a trigger for each job, and pruning removes both together.
CREATE TABLE generation.job_attempt (
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

-- One row for each paid request, written before it leaves and finished after it: a row without finished_at is a call whose
-- answer is awaited, or was lost.
--   spent       whether the provider charges for it; null while nobody knows
--   resumable   the provider keeps the answer under provider_ref, and a later attempt may fetch it there instead of paying
--               again. False as soon as it is known that there is no image to fetch.
CREATE TABLE generation.provider_call (
  job_id        uuid        NOT NULL,
  number        integer     NOT NULL,
  lease_token   uuid        NOT NULL,
  provider      text        NOT NULL,
  key_label     text        NOT NULL,
  model         text,
  provider_ref  text,
  resumable     boolean     NOT NULL DEFAULT false,
  started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at   timestamptz,
  milliseconds  integer,
  spent         boolean,
  usage         jsonb,
  error_code    text,
  PRIMARY KEY (job_id, number),
  CONSTRAINT number_counts_from_one CHECK (number >= 1),
  CONSTRAINT resumable_has_a_ref CHECK (provider_ref IS NOT NULL OR NOT resumable),
  CONSTRAINT finished_calls_have_a_time CHECK ((finished_at IS NULL) = (milliseconds IS NULL))
);
-- What the calls of the last hour came to is asked while jobs run.
CREATE INDEX provider_call_started ON generation.provider_call (started_at);
-- Few jobs have a second call; which of them were paid twice is asked often.
CREATE INDEX provider_call_again ON generation.provider_call (started_at) WHERE number > 1;

-- The bytes of an image that was paid and could not be stored, until it is. Not compressed: images are.
-- No foreign key, as above; what is left behind is pruned.
CREATE TABLE generation.staged_image (
  job_id     uuid        PRIMARY KEY,
  provider   text        NOT NULL,
  model      text        NOT NULL,
  bytes      bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT bytes_are_bounded CHECK (length(bytes) BETWEEN 1 AND 10000000)
);
ALTER TABLE generation.staged_image ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Uploads that a worker has deleted because they were old and no waiting or running job named them. A job that has ended may
-- still name one, and is not replayed then. Kept for as long as jobs are.
CREATE TABLE generation.swept_upload (
  key      text        PRIMARY KEY,
  swept_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX swept_upload_at ON generation.swept_upload (swept_at);

-- Jobs: the state chart -----------------------------------------------------------------------------------------------

CREATE FUNCTION generation.refuse_transition() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.status IN ('completed', 'failed', 'cancelled') THEN
    RAISE EXCEPTION 'generation_job %: it is % and final; final jobs never change', OLD.id, OLD.status
      USING ERRCODE = 'GW002', HINT = 'To try again, replay it: generation-worker job retry ' || OLD.id;
  END IF;
  RAISE EXCEPTION 'generation_job %: from % (attempt %, debited %) to % (attempt %, debited %) is not in the state chart',
    OLD.id, OLD.status, OLD.attempt, OLD.debited, NEW.status, NEW.attempt, NEW.debited USING ERRCODE = 'GW001';
END $$;

-- The condition stands in WHEN, so an allowed update calls no function.
CREATE TRIGGER state_chart BEFORE UPDATE ON generation.generation_job FOR EACH ROW WHEN (
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
EXECUTE FUNCTION generation.refuse_transition();

-- No job may start in the middle of its life: that would be work without a debit, or an end without a beginning.
CREATE FUNCTION generation.refuse_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: a new job is pending or scheduled, undebited, with attempt 0, not %', NEW.status
    USING ERRCODE = 'GW001';
END $$;

CREATE TRIGGER state_chart_begins BEFORE INSERT ON generation.generation_job FOR EACH ROW
  WHEN (NEW.status NOT IN ('pending', 'scheduled') OR NEW.debited OR NEW.attempt <> 0 OR NEW.crashes <> 0)
  EXECUTE FUNCTION generation.refuse_insert();

-- A job that is not final may hold credits; deleting it would lose them.
CREATE FUNCTION generation.refuse_delete() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'generation_job %: it is %; only final jobs may be deleted', OLD.id, OLD.status
    USING ERRCODE = 'GW001', HINT = 'Cancel it first: generation-worker job cancel ' || OLD.id;
END $$;

CREATE TRIGGER state_chart_ends BEFORE DELETE ON generation.generation_job FOR EACH ROW
  WHEN (OLD.status NOT IN ('completed', 'failed', 'cancelled'))
  EXECUTE FUNCTION generation.refuse_delete();

CREATE FUNCTION generation.refuse_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: emptied at once it would lose the credits that its jobs hold'
    USING ERRCODE = 'GW001', HINT = 'Final jobs may be deleted; cancel the others first.';
END $$;

CREATE TRIGGER state_chart_ends_whole BEFORE TRUNCATE ON generation.generation_job
  FOR EACH STATEMENT EXECUTE FUNCTION generation.refuse_truncate();

CREATE FUNCTION generation.refuse_change_of_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'generation_job %: what a job asks for and who pays for it never change', OLD.id
    USING ERRCODE = 'GW003', HINT = 'Cancel it and enqueue another.';
END $$;

CREATE TRIGGER request_never_changes
  BEFORE UPDATE OF id, kind, user_id, payload, cost, idempotency_key, request_hash, batch_id, batch_index, retry_of, created_at
  ON generation.generation_job FOR EACH ROW EXECUTE FUNCTION generation.refuse_change_of_request();

-- A claim carries the payloads of all jobs that it takes. One that no enqueue lets in must not get past it by hand either, or
-- it could make claims fail that others wait for. Asked at the insert only: a payload never changes.
CREATE FUNCTION generation.refuse_payload() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: payload: larger than 256 kB; store images first and name them by key'
    USING ERRCODE = 'GW006', HINT = 'Enqueue with enqueue_generation(), which looks at the whole request.';
END $$;

CREATE TRIGGER payload_fits BEFORE INSERT ON generation.generation_job FOR EACH ROW
  WHEN (octet_length(NEW.payload::text) > 262144) EXECUTE FUNCTION generation.refuse_payload();

-- Credits -------------------------------------------------------------------------------------------------------------

-- One account for each user.
--   entries       the number of the account's last entry
--   fair_weight   a user with 2 waits as if each job were half as long
CREATE TABLE generation.credit_account (
  user_id     text        PRIMARY KEY,
  balance     bigint      NOT NULL DEFAULT 0,
  entries     bigint      NOT NULL DEFAULT 0,
  fair_weight real        NOT NULL DEFAULT 1,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT balance_is_not_negative CHECK (balance >= 0),
  CONSTRAINT fair_weight_is_positive CHECK (fair_weight > 0)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- A page of accounts that begin alike costs the same among millions, whatever collation the database has.
CREATE INDEX credit_account_beginning ON generation.credit_account (user_id text_pattern_ops);

-- The ledger: every movement of credits, append-only, numbered within its account without a gap.
CREATE TABLE generation.credit_entry (
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
  FOREIGN KEY (user_id, refund_of) REFERENCES generation.credit_entry (user_id, seq)
);
-- A job is debited once and refunded once.
CREATE UNIQUE INDEX credit_entry_once_a_job ON generation.credit_entry (job_id, kind) WHERE job_id IS NOT NULL;
CREATE UNIQUE INDEX credit_entry_idempotency ON generation.credit_entry (user_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;

CREATE FUNCTION generation.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: it cannot be changed by %', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'GW003', HINT = 'Correct a balance with an adjustment: generation-worker credits adjust';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON generation.credit_entry
  FOR EACH ROW EXECUTE FUNCTION generation.refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON generation.credit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION generation.refuse_change();

-- Refunds the debit of a job in the transaction that makes it fail or be cancelled, whether that is done by a worker,
-- cancel_generation or a person in psql. The amount is the debit's. A second refund of a job cannot happen: a final job
-- never changes, and the unique index on (job_id, kind) would raise.
CREATE FUNCTION generation.refund_generation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  debit generation.credit_entry;
  account generation.credit_account;
BEGIN
  SELECT * INTO STRICT debit FROM generation.credit_entry WHERE job_id = NEW.id AND kind = 'debit';
  UPDATE generation.credit_account SET balance = balance - debit.amount, entries = entries + 1
   WHERE user_id = debit.user_id RETURNING * INTO STRICT account;
  INSERT INTO generation.credit_entry (user_id, seq, kind, amount, balance_after, job_id, refund_of, reason)
  VALUES (debit.user_id, account.entries, 'refund', -debit.amount, account.balance, NEW.id, debit.seq, NEW.status);
  RETURN NULL;
END $$;

CREATE TRIGGER refund AFTER UPDATE OF status ON generation.generation_job FOR EACH ROW
  WHEN (NEW.debited AND NEW.status IN ('failed', 'cancelled'))
  EXECUTE FUNCTION generation.refund_generation();

-- Moves credits that no job moves. The account is locked before the key is looked up: two callers with one key agree.
CREATE FUNCTION generation.post_credits(user_id text, kind text, amount bigint, idempotency_key text, reason text, actor text)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  account generation.credit_account;
  known generation.credit_entry;
BEGIN
  IF $3 IS NULL OR $3 = 0 OR $2 = 'grant' AND $3 < 0 OR $3 NOT BETWEEN -1000000000000 AND 1000000000000 THEN
    RAISE EXCEPTION 'amount: % is not an amount to %; it must be a whole number %, 1000000000000 at most',
      coalesce($3::text, 'nothing'), CASE $2 WHEN 'grant' THEN 'grant' ELSE 'adjust by' END,
      CASE $2 WHEN 'grant' THEN 'above zero' ELSE 'other than zero' END USING ERRCODE = 'GW006';
  END IF;
  IF coalesce(length($1), 0) NOT BETWEEN 1 AND 255 THEN
    RAISE EXCEPTION 'user_id: must have 1 to 255 characters' USING ERRCODE = 'GW006';
  END IF;
  INSERT INTO generation.credit_account (user_id) VALUES ($1) ON CONFLICT DO NOTHING;
  SELECT a.* INTO STRICT account FROM generation.credit_account a WHERE a.user_id = $1 FOR NO KEY UPDATE;
  SELECT e.* INTO known FROM generation.credit_entry e WHERE e.user_id = $1 AND e.idempotency_key = $4;
  IF FOUND THEN
    IF (known.kind, known.amount) <> ($2, $3) THEN
      RAISE EXCEPTION 'idempotency_key: % was used for a % of %', quote_literal($4), known.kind, known.amount
        USING ERRCODE = 'GW004';
    END IF;
    RETURN QUERY SELECT known.seq, account.balance, true;
    RETURN;
  END IF;
  IF account.balance + $3 < 0 THEN
    RAISE EXCEPTION 'amount: user % has % credits; % cannot be taken', $1, account.balance, -$3 USING ERRCODE = 'GW005';
  END IF;
  UPDATE generation.credit_account a SET balance = a.balance + $3, entries = a.entries + 1 WHERE a.user_id = $1
  RETURNING * INTO account;
  INSERT INTO generation.credit_entry (user_id, seq, kind, amount, balance_after, idempotency_key, reason, actor)
  VALUES ($1, account.entries, $2, $3, account.balance, $4, $5, $6);
  RETURN QUERY SELECT account.entries, account.balance, false;
END $$;

-- Gives a user credits, for instance in the transaction that records their payment. The same key gives them once.
CREATE FUNCTION generation.grant_credits(user_id text, amount bigint, idempotency_key text DEFAULT NULL, reason text DEFAULT NULL,
                                         actor text DEFAULT NULL)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT * FROM generation.post_credits($1, 'grant', $2, $3, $4, $5);
END;

-- Corrects a balance, up or down, never below zero.
CREATE FUNCTION generation.adjust_credits(user_id text, amount bigint, idempotency_key text DEFAULT NULL, reason text DEFAULT NULL,
                                          actor text DEFAULT NULL)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT * FROM generation.post_credits($1, 'adjustment', $2, $3, $4, $5);
END;

-- Enqueue and cancel: what an app calls, in any language, inside its own transaction --------------------------------------
--
-- The functions for apps run as their owner (SECURITY DEFINER): a role may enqueue without any right to a table.

-- The first problem of a payload, as «field: problem», or null. It knows names, types and placeholders; the worker checks the
-- rest before it starts.
CREATE FUNCTION generation.generation_payload_problem(kind text, payload jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known text[];
  required text[];
  name text;
BEGIN
  CASE kind
    WHEN 'text_to_image' THEN
      known := '{prompt,inputs,images,aspect_ratio,image_size,output}';
      required := '{prompt}';
    WHEN 'image_conversion' THEN
      known := '{user_image,cloth_image,prompt,options,aspect_ratio,image_size,output}';
      required := '{user_image,cloth_image}';
    WHEN 'image_processing' THEN
      known := '{image,operations}';
      required := '{image,operations}';
    ELSE
      RETURN format('kind: %L is not one of text_to_image, image_conversion, image_processing', kind);
  END CASE;
  IF payload IS NULL OR jsonb_typeof(payload) <> 'object' THEN
    RETURN 'payload: must be a JSON object';
  END IF;
  IF octet_length(payload::text) > 262144 THEN
    RETURN 'payload: larger than 256 kB; store images first and name them by key';
  END IF;
  FOR name IN SELECT jsonb_object_keys(payload) EXCEPT SELECT unnest(known) ORDER BY 1 LOOP
    RETURN format('payload.%s: unknown field', name);
  END LOOP;
  FOREACH name IN ARRAY required LOOP
    IF NOT payload ? name THEN
      RETURN format('payload.%s: Field required', name);
    END IF;
  END LOOP;
  IF payload ? 'prompt' AND (kind = 'text_to_image' OR jsonb_typeof(payload->'prompt') <> 'null') THEN
    IF jsonb_typeof(payload->'prompt') <> 'string' THEN
      RETURN 'payload.prompt: must be a text';
    ELSIF length(payload->>'prompt') NOT BETWEEN 1 AND 10000 THEN
      RETURN format('payload.prompt: has %s characters; 1 to 10000 are allowed', length(payload->>'prompt'));
    END IF;
  END IF;
  IF kind = 'text_to_image' THEN
    IF jsonb_typeof(coalesce(payload->'inputs', '{}')) <> 'object' THEN
      RETURN 'payload.inputs: must be a JSON object of texts';
    END IF;
    FOR name IN
      SELECT DISTINCT m[1] FROM regexp_matches(payload->>'prompt', '\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}', 'g') m
       WHERE NOT coalesce(payload->'inputs', '{}') ? m[1] ORDER BY 1
    LOOP
      RETURN format('payload.prompt: has no input for {{%s}}: add %s to inputs', name, name);
    END LOOP;
  END IF;
  RETURN NULL;
END $$;

-- A price is kept for a kind and a provider, or for a kind.
CREATE FUNCTION generation.generation_price(kind text, provider text) RETURNS bigint LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce(
    (SELECT value::bigint FROM generation.fleet_setting WHERE name = 'price.' || kind || '.' || provider),
    (SELECT value::bigint FROM generation.fleet_setting WHERE name = 'price.' || kind));
END;

-- Whether a text is a moment in time; infinity is none. Null for null.
CREATE FUNCTION generation.generation_is_a_moment(text text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN isfinite(text::timestamptz);
EXCEPTION WHEN data_exception THEN
  RETURN false;
END $$;

-- The first problem of one request of enqueue_generations, or null.
CREATE FUNCTION generation.generation_request_problem(request jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  name text;
  asked text := request->>'provider';
  second text := request->>'fallback_provider';
  offered jsonb := (SELECT value FROM generation.fleet_setting WHERE fleet_setting.name = 'providers');
  number numeric;
BEGIN
  IF jsonb_typeof(request) <> 'object' THEN
    RETURN 'must be a JSON object';
  END IF;
  FOR name IN SELECT jsonb_object_keys(request) EXCEPT SELECT unnest('{kind,user_id,payload,provider,fallback_provider,cost,priority,
    run_at,deadline_at,idempotency_key,count,batch_id,max_attempts,retry_of,traceparent}'::text[]) ORDER BY 1
  LOOP
    RETURN format('%s: unknown field', name);
  END LOOP;
  IF coalesce(length(request->>'user_id'), 0) NOT BETWEEN 1 AND 255 THEN
    RETURN 'user_id: must have 1 to 255 characters';
  END IF;
  IF request->>'idempotency_key' IS NOT NULL AND length(request->>'idempotency_key') NOT BETWEEN 1 AND 255 THEN
    RETURN 'idempotency_key: must have 1 to 255 characters';
  END IF;
  FOREACH name IN ARRAY '{cost,priority,count,max_attempts}'::text[] LOOP
    IF coalesce(request->name, 'null') <> 'null' THEN
      IF jsonb_typeof(request->name) <> 'number' OR request->>name !~ '^-?[0-9]+$' THEN
        RETURN format('%s: must be a whole number', name);
      END IF;
      number := request->name;
      IF (number NOT BETWEEN CASE name WHEN 'cost' THEN 0 WHEN 'priority' THEN -1000000 ELSE 1 END
                         AND CASE name WHEN 'cost' THEN 1000000000 WHEN 'priority' THEN 1000000 ELSE 100 END) THEN
        RETURN format('%s: %s is out of range; %s are allowed', name, number,
          CASE name WHEN 'cost' THEN '0 to 1000000000' WHEN 'priority' THEN '-1000000 to 1000000' ELSE '1 to 100' END);
      END IF;
    END IF;
  END LOOP;
  FOREACH name IN ARRAY '{batch_id,retry_of}'::text[] LOOP
    IF request->>name !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
      RETURN format('%s: must be a UUID', name);
    END IF;
  END LOOP;
  FOREACH name IN ARRAY '{run_at,deadline_at}'::text[] LOOP
    IF NOT generation.generation_is_a_moment(request->>name) THEN
      RETURN format('%s: %L is not a date and time, such as 2030-01-31T12:00:00Z', name, request->>name);
    END IF;
  END LOOP;
  IF request->>'traceparent' !~ '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$' THEN
    RETURN format('traceparent: %L is not of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case and with '
      'neither id all zeros; pass on the header as it is, or leave it out', left(request->>'traceparent', 80));
  END IF;
  IF (request->>'deadline_at')::timestamptz <= (request->>'run_at')::timestamptz THEN
    RETURN 'deadline_at: must lie after run_at';
  END IF;
  name := generation.generation_payload_problem(request->>'kind', request->'payload');
  IF name IS NOT NULL THEN
    RETURN name;
  END IF;
  IF request->>'retry_of' IS NOT NULL THEN
    IF coalesce(request->>'count', '1') <> '1' THEN
      RETURN 'count: a replay is one job; leave it out';
    ELSIF NOT EXISTS (
      SELECT FROM generation.generation_job j
       WHERE j.user_id = request->>'user_id'
         AND (j.retry_of = (request->>'retry_of')::uuid  -- asked for before
              OR j.id = (request->>'retry_of')::uuid AND j.status IN ('failed', 'cancelled')))
    THEN
      RETURN format('retry_of: user %s has no job %s that failed or was cancelled',
        request->>'user_id', request->>'retry_of');
    END IF;
  END IF;
  IF request->>'kind' = 'image_processing' THEN
    IF asked <> 'none' THEN
      RETURN format('provider: image_processing is done without one; leave it out instead of %L', asked);
    END IF;
  ELSIF asked IS NULL THEN
    IF NOT EXISTS (SELECT FROM generation.fleet_setting WHERE fleet_setting.name = 'default_provider') THEN
      RETURN 'provider: none is named and the fleet has no default yet; name one, or start a worker once';
    END IF;
  ELSIF asked = 'none' OR NOT coalesce(offered ? asked, true) THEN
    RETURN format('provider: no worker offers %L; offered are %s', asked,
      (SELECT string_agg(o, ', ' ORDER BY o) FROM jsonb_array_elements_text(offered) o));
  END IF;
  IF second IS NOT NULL THEN
    IF request->>'kind' = 'image_processing' THEN
      RETURN 'fallback_provider: image_processing is done without a provider; leave it out';
    ELSIF second = coalesce(asked, (SELECT value #>> '{}' FROM generation.fleet_setting WHERE fleet_setting.name = 'default_provider')) THEN
      RETURN format('fallback_provider: %L is the first provider already; name another, or leave it out', second);
    ELSIF second = 'none' OR NOT coalesce(offered ? second, true) THEN
      RETURN format('fallback_provider: no worker offers %L; offered are %s', second,
        (SELECT string_agg(o, ', ' ORDER BY o) FROM jsonb_array_elements_text(offered) o));
    END IF;
  END IF;
  RETURN NULL;
END $$;

-- How long a job occupies its user's private slot. A job that costs nothing counts as one credit: free work is shared fairly
-- too. A day at most: with a very high cost or a tiny weight a line would reach beyond the last possible date, and promoting
-- one job whose place cannot be written would fail for everybody's.
CREATE FUNCTION generation.generation_length(cost bigint, user_id text) RETURNS interval LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT make_interval(secs => least(86400, greatest(cost, 1)
    * (SELECT value::float8 FROM generation.fleet_setting WHERE name = 'seconds_per_credit')
    / coalesce((SELECT fair_weight FROM generation.credit_account a WHERE a.user_id = generation_length.user_id), 1)));
END;

-- The moment from which a user's private slot is free: the end of their last pending job, or now. A place that somebody wrote
-- into a row by hand counts up to a year that can still be added to.
CREATE FUNCTION generation.generation_line_end(user_id text) RETURNS timestamptz LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT greatest(statement_timestamp(), (
    SELECT least(j.position, timestamptz '9999-01-01 00:00+00') + generation.generation_length(j.cost, j.user_id)
      FROM generation.generation_job j
     WHERE j.user_id = generation_line_end.user_id AND j.status = 'pending' ORDER BY j.position DESC LIMIT 1));
END;

-- The columns of a job that enqueueing decides.
CREATE TYPE generation.planned_generation AS (
  id uuid, kind text, user_id text, status text, provider text, fallback_provider text, payload jsonb, cost bigint, priority integer,
  position timestamptz, max_attempts integer, run_at timestamptz, deadline_at timestamptz, batch_id uuid, batch_index integer,
  idempotency_key text, request_hash bytea, retry_of uuid, traceparent text);

-- Enqueues one job for each element of a JSON array of 1 to 1000 objects, all or none. The objects have the names and
-- meanings of enqueue_generation's parameters. Returns the jobs in the order of the requests.
CREATE FUNCTION generation.enqueue_generations(jobs jsonb)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  problem text;
  planned generation.planned_generation[];
  broke record;
BEGIN
  IF jobs IS NULL OR jsonb_typeof(jobs) <> 'array' OR jsonb_array_length(jobs) NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'jobs: must be a JSON array of 1 to 1000 requests' USING ERRCODE = 'GW006';
  END IF;
  SELECT CASE WHEN jsonb_array_length(jobs) > 1 THEN format('jobs[%s].', n - 1) ELSE '' END || p INTO problem
    FROM jsonb_array_elements(jobs) WITH ORDINALITY e (request, n), generation.generation_request_problem(request) p
   WHERE p IS NOT NULL ORDER BY n LIMIT 1;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'GW006';
  END IF;

  WITH asked AS (
    SELECT n, request, r.*, coalesce(
             CASE r.kind WHEN 'image_processing' THEN 'none' ELSE r.provider END,
             (SELECT value #>> '{}' FROM generation.fleet_setting WHERE name = 'default_provider')) AS chosen
      FROM jsonb_array_elements(jobs) WITH ORDINALITY e (request, n)
     CROSS JOIN jsonb_to_record(request) AS r (kind text, user_id text, payload jsonb, provider text, fallback_provider text, cost bigint,
       priority integer, run_at timestamptz, deadline_at timestamptz, idempotency_key text, count integer,
       batch_id uuid, max_attempts integer, retry_of uuid, traceparent text)
  ), priced AS (
    SELECT *, coalesce(cost, generation.generation_price(kind, chosen)) AS price,
           CASE WHEN count > 1 THEN coalesce(batch_id, generation.generation_uuid()) ELSE batch_id END AS batch
      FROM asked
  ), image AS (
    SELECT *, generation.generation_uuid() AS id, run_at > statement_timestamp() IS TRUE AS later,
           generation.generation_length(price, user_id) AS length
      FROM priced CROSS JOIN generate_series(0, coalesce(count, 1) - 1) AS i
  ), line AS (
    SELECT user_id, generation.generation_line_end(user_id) AS free_at FROM (SELECT DISTINCT user_id FROM image) u
  ), placed AS (
    SELECT *, CASE WHEN later THEN run_at ELSE statement_timestamp() END AS due,
           CASE WHEN later THEN run_at
                ELSE free_at + sum(length) FILTER (WHERE NOT later) OVER (PARTITION BY user_id ORDER BY n, i) - length
           END AS place
      FROM image JOIN line USING (user_id)
  )
  SELECT array_agg(row(
      id, kind, user_id, CASE WHEN later THEN 'scheduled' ELSE 'pending' END, chosen, fallback_provider, payload, price,
      coalesce(priority, 0), place, max_attempts, due, coalesce(deadline_at, due + interval '1 day'), batch, i, idempotency_key,
      CASE WHEN idempotency_key IS NOT NULL THEN
        sha256(convert_to(jsonb_build_array(kind, payload, provider, cost, coalesce(count, 1))::text, 'UTF8')) END,
      retry_of, traceparent)::generation.planned_generation ORDER BY n, i)
    INTO planned FROM placed;

  SELECT p.kind, p.provider, p.cost INTO broke FROM unnest(planned) p
   WHERE p.cost IS NULL OR p.cost <> generation.generation_price(p.kind, p.provider)
     AND NOT coalesce((SELECT value::boolean FROM generation.fleet_setting WHERE name = 'caller_may_set_cost'), false) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'cost: the price of % by % is %, not %; a caller may set it only while caller_may_set_cost is true',
      broke.kind, broke.provider, coalesce(generation.generation_price(broke.kind, broke.provider)::text, 'not set'), broke.cost
      USING ERRCODE = 'GW006', HINT = 'Leave cost out.';
  END IF;

  -- In the order of the unique index, so that two callers with the same keys wait for each other and never in a circle.
  INSERT INTO generation.generation_job (id, kind, user_id, status, provider, fallback_provider, payload, cost, priority, position, max_attempts, run_at,
    deadline_at, batch_id, batch_index, idempotency_key, request_hash, retry_of, traceparent)
  SELECT p.* FROM unnest(planned) p
   ORDER BY p.user_id, p.idempotency_key, p.batch_index, p.id
  ON CONFLICT DO NOTHING;

  -- A statement of its own: it sees what another caller with the same key has just committed.
  SELECT p.user_id, p.idempotency_key AS key INTO broke FROM unnest(planned) p
    JOIN generation.generation_job j USING (user_id, idempotency_key, batch_index)
   WHERE j.request_hash <> p.request_hash LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'idempotency_key: % was used by user % for another request', quote_literal(broke.key), broke.user_id
      USING ERRCODE = 'GW004', HINT = 'Use a new key for a new request, and the same request for the same key.';
  END IF;

  -- Early and kind, not exact: what decides is the debit when the work starts.
  SELECT u.user_id, w.owed, coalesce(a.balance, 0) AS balance INTO broke
    FROM (SELECT DISTINCT p.user_id FROM unnest(planned) p JOIN generation.generation_job j ON j.id = p.id WHERE p.cost > 0) u
    CROSS JOIN LATERAL (
      SELECT sum(j.cost) AS owed FROM generation.generation_job j
       WHERE j.user_id = u.user_id AND j.status IN ('pending', 'scheduled', 'rate_limited') AND NOT j.debited) w
    LEFT JOIN generation.credit_account a ON a.user_id = u.user_id
   WHERE w.owed > coalesce(a.balance, 0) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'credits: user % has % and what is waiting, this request included, costs %',
      broke.user_id, broke.balance, broke.owed
      USING ERRCODE = 'GW005', HINT = 'Grant credits first: generation-worker credits grant USER AMOUNT';
  END IF;

  -- NOTIFY takes a lock on the whole instance at commit: only for a worker that sleeps.
  IF EXISTS (SELECT FROM generation.worker_process w WHERE w.asleep AND w.seen_at > statement_timestamp() - interval '2 minutes') THEN
    PERFORM pg_notify('generation.signals', 'wake');
  END IF;

  RETURN QUERY
    SELECT j.id, j.status, j.batch_id, j.id <> p.id FROM unnest(planned) WITH ORDINALITY p
      JOIN generation.generation_job j ON j.id = coalesce(
        (SELECT k.id FROM generation.generation_job k WHERE k.id = p.id),
        (SELECT k.id FROM generation.generation_job k WHERE k.user_id = p.user_id AND k.idempotency_key = p.idempotency_key
            AND k.batch_index = p.batch_index),
        (SELECT k.id FROM generation.generation_job k WHERE k.retry_of = p.retry_of))
     ORDER BY p.ordinality;
END $$;

-- Enqueues one image, or a batch of `count` images, and returns a row for each.
--   provider           who makes it; by default the fleet's default_provider. Not for image_processing.
--   cost               credits; by default the price. Another one only while caller_may_set_cost is true.
--   priority           lower goes first; 0 by default
--   run_at             not before then; deadline_at: failed and refunded if not done by then (a day after run_at)
--   idempotency_key    the same key and request give the same job again (duplicate is true); another request is refused
--   fallback_provider  who makes it instead while the first one's breaker is open
--   traceparent        the caller's span as W3C Trace Context writes it; the job's spans and log lines belong to its trace
CREATE FUNCTION generation.enqueue_generation(
  kind text, user_id text, payload jsonb, provider text DEFAULT NULL, cost bigint DEFAULT NULL,
  priority integer DEFAULT NULL, run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
  count integer DEFAULT NULL, batch_id uuid DEFAULT NULL, max_attempts integer DEFAULT NULL,
  deadline_at timestamptz DEFAULT NULL, retry_of uuid DEFAULT NULL,
  fallback_provider text DEFAULT NULL, traceparent text DEFAULT NULL)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT * FROM generation.enqueue_generations(jsonb_build_array(jsonb_build_object(
    'kind', $1, 'user_id', $2, 'payload', $3, 'provider', $4, 'cost', $5, 'priority', $6, 'run_at', $7,
    'idempotency_key', $8, 'count', $9, 'batch_id', $10, 'max_attempts', $11, 'deadline_at', $12, 'retry_of', $13,
    'fallback_provider', $14, 'traceparent', $15)));
END;

-- Cancels a job that waits, with its refund, at once; asks the worker to stop one that runs (it may still complete
-- first). Any other job stays as it is. Returns the job's status now, and no row if there is no such job.
CREATE FUNCTION generation.cancel_generation(id uuid)
RETURNS TABLE (status text, cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  job generation.generation_job;
BEGIN
  SELECT j.* INTO job FROM generation.generation_job j WHERE j.id = $1 FOR NO KEY UPDATE;
  IF job.status IN ('pending', 'scheduled', 'rate_limited') THEN
    UPDATE generation.generation_job j SET status = 'cancelled', finished_at = clock_timestamp(),
           cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp())
     WHERE j.id = $1;
  ELSIF job.status = 'processing' AND job.cancel_requested_at IS NULL THEN
    UPDATE generation.generation_job j SET cancel_requested_at = clock_timestamp() WHERE j.id = $1;
    PERFORM pg_notify('generation.signals', 'cancel');
  END IF;
  RETURN QUERY SELECT j.status, j.cancel_requested_at IS NOT NULL FROM generation.generation_job j WHERE j.id = $1;
END $$;

-- Webhooks ------------------------------------------------------------------------------------------------------------
--
-- A delivery is written in the transaction in which its event happens, and sent later by a worker's courier.

-- An address that receives some events, of all users or of one. The worker that signs must be able to read its secret; sql/roles.sql
-- shows it to workers only. While a new secret is introduced the old one signs as well. The events never change, so that it
-- can be checked whether they were sent: for others, add another endpoint.
--   enabled_since   while it is disabled nothing is written for it
--   failing_since   the first failure after the last success
--   closed_until    the endpoint has asked not to be called before
CREATE TABLE generation.webhook_endpoint (
  id               uuid        PRIMARY KEY DEFAULT generation.generation_uuid(),
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
    'job.completed', 'job.failed', 'job.cancelled', 'batch.finished', 'breaker.opened', 'credits.low']),
  CONSTRAINT a_user_is_not_told_of_providers CHECK (user_id IS NULL OR NOT 'breaker.opened' = ANY (events)),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT secret_can_sign CHECK (secret ~ '^whsec_' AND old_secret ~ '^whsec_'),
  CONSTRAINT old_secret_ends CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
  CONSTRAINT disabled_for_a_reason CHECK ((disabled_at IS NULL) = (disabled_for IS NULL)),
  CONSTRAINT reason_is_bounded CHECK (length(disabled_for) <= 500)
);

-- One message for one endpoint. The id is the message id of Standard Webhooks: the same at each try, as the body is.
-- A delivery that a courier has taken is due again when its lease is over; lease_token is the fence. No foreign key: it would
-- cost each settlement a lock on the endpoint. Deliveries of a deleted endpoint are never sent, and pruned.
CREATE TABLE generation.webhook_delivery (
  id          uuid        PRIMARY KEY DEFAULT generation.generation_uuid(),
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
CREATE INDEX webhook_delivery_due ON generation.webhook_delivery (endpoint_id, next_at) WHERE status = 'pending';
CREATE INDEX webhook_delivery_created ON generation.webhook_delivery (created_at, id);
CREATE INDEX webhook_delivery_endpoint ON generation.webhook_delivery (endpoint_id, created_at, id);
-- Few: those that have failed, and are tried again or given up.
CREATE INDEX webhook_delivery_failed ON generation.webhook_delivery (endpoint_id, created_at, id)
  WHERE status <> 'delivered' AND last_error IS NOT NULL;
-- Each endpoint receives the end of a job, and of a batch, once.
CREATE UNIQUE INDEX webhook_delivery_job ON generation.webhook_delivery (job_id, endpoint_id) WHERE job_id IS NOT NULL;
CREATE UNIQUE INDEX webhook_delivery_batch ON generation.webhook_delivery (batch_id, endpoint_id) WHERE batch_id IS NOT NULL;

-- Batches of which a job has ended. Whether it was the last one can only be seen after its transaction: two may end at the
-- same moment, and neither sees the other. The courier looks, and deletes the row.
CREATE TABLE generation.webhook_batch (
  id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch_id uuid        NOT NULL,
  at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION generation.webhook_moment(at timestamptz) RETURNS text LANGUAGE sql STABLE
RETURN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

CREATE FUNCTION generation.webhook_body(event text, at timestamptz, data jsonb) RETURNS text LANGUAGE sql STABLE
RETURN jsonb_build_object('type', $1, 'timestamp', generation.webhook_moment($2), 'data', $3)::text;

-- Writes the deliveries of jobs that have ended, whether a worker, cancel_generation or a person in psql has ended them. Once
-- a statement, for all of its jobs: without an endpoint a settlement of hundreds runs one small query. As the owner: a role that
-- may end a job need have no right to the outbox.
CREATE FUNCTION generation.write_job_deliveries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM generation.webhook_endpoint WHERE disabled_at IS NULL) THEN
    RETURN NULL;
  END IF;
  INSERT INTO generation.webhook_delivery (endpoint_id, event, job_id, body)
  SELECT e.id, 'job.' || j.status, j.id, generation.webhook_body('job.' || j.status, j.finished_at, jsonb_build_object(
           'id', j.id, 'kind', j.kind, 'user_id', j.user_id, 'status', j.status, 'provider', j.provider, 'cost', j.cost,
           'refunded', j.debited AND j.status <> 'completed', 'attempts', j.attempt, 'batch_id', j.batch_id,
           'batch_index', j.batch_index, 'idempotency_key', j.idempotency_key, 'retry_of', j.retry_of, 'result', j.result,
           'error_code', j.error_code, 'error_message', j.error_message, 'created_at', generation.webhook_moment(j.created_at),
           'started_at', generation.webhook_moment(j.started_at), 'finished_at', generation.webhook_moment(j.finished_at)))
    FROM changed j
    JOIN generation.webhook_endpoint e ON 'job.' || j.status = ANY (e.events) AND (e.user_id IS NULL OR e.user_id = j.user_id)
   WHERE j.finished_at IS NOT NULL AND e.disabled_at IS NULL;
  INSERT INTO generation.webhook_batch (batch_id)
  SELECT DISTINCT j.batch_id FROM changed j
   WHERE j.finished_at IS NOT NULL AND j.batch_id IS NOT NULL
     AND EXISTS (SELECT FROM generation.webhook_endpoint e WHERE e.disabled_at IS NULL AND 'batch.finished' = ANY (e.events)
                    AND (e.user_id IS NULL OR e.user_id = j.user_id));
  RETURN NULL;
END $$;

CREATE TRIGGER write_deliveries AFTER UPDATE ON generation.generation_job REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION generation.write_job_deliveries();

-- A breaker that opens stops everything that needs its key: an event for operators, so not for endpoints of one user.
CREATE FUNCTION generation.write_breaker_delivery() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO generation.webhook_delivery (endpoint_id, event, body)
  SELECT e.id, 'breaker.opened', generation.webhook_body('breaker.opened', NEW.opened_at, jsonb_build_object(
           'key', NEW.key_label, 'provider', NEW.provider, 'reason', NEW.opened_for,
           'opened_at', generation.webhook_moment(NEW.opened_at), 'open_until', generation.webhook_moment(NEW.open_until)))
    FROM generation.webhook_endpoint e WHERE e.disabled_at IS NULL AND 'breaker.opened' = ANY (e.events);
  RETURN NULL;
END $$;

CREATE TRIGGER write_deliveries AFTER UPDATE ON generation.provider_gate FOR EACH ROW
  WHEN (NEW.breaker = 'open' AND OLD.breaker <> 'open') EXECUTE FUNCTION generation.write_breaker_delivery();

-- Sends credits.low when a balance falls below the setting credits_low, and again when it does so again. Once a statement, as
-- above. Of the entries that one statement makes for a user, only the one that crosses the threshold counts.
CREATE FUNCTION generation.write_low_credits_delivery() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM generation.webhook_endpoint WHERE disabled_at IS NULL AND 'credits.low' = ANY (events)) THEN
    RETURN NULL;
  END IF;
  INSERT INTO generation.webhook_delivery (endpoint_id, event, body)
  SELECT e.id, 'credits.low', generation.webhook_body('credits.low', statement_timestamp(), jsonb_build_object(
           'user_id', a.user_id, 'balance', a.balance_after, 'threshold', low.threshold, 'job_id', a.job_id))
    FROM (SELECT value::text::bigint AS threshold FROM generation.fleet_setting WHERE name = 'credits_low') AS low
    JOIN added a ON a.balance_after < low.threshold AND a.balance_after - a.amount >= low.threshold
    JOIN generation.webhook_endpoint e ON 'credits.low' = ANY (e.events) AND (e.user_id IS NULL OR e.user_id = a.user_id)
   WHERE e.disabled_at IS NULL;
  RETURN NULL;
END $$;

CREATE TRIGGER write_deliveries AFTER INSERT ON generation.credit_entry REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION generation.write_low_credits_delivery();

-- Access: keys, sessions, the audit trail -------------------------------------------------------------------------------

-- Keys of the HTTP API: gw_live_<id>_<secret>. The secret is shown once and only its hash is kept. A row is never deleted: as
-- long as there is one, even a revoked one, nobody is let in without a key.
--   requests_per_minute, most_waiting, max_body_kb   limits of this key; null: as the settings say
CREATE TABLE generation.api_token (
  id                  text        PRIMARY KEY,
  name                text        NOT NULL,
  secret_hash         bytea       NOT NULL,
  scopes              text[]      NOT NULL,
  user_id             text,
  requests_per_minute integer,
  most_waiting        integer,
  max_body_kb         integer,
  created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by          text,
  expires_at          timestamptz,
  revoked_at          timestamptz,
  last_used_at        timestamptz,
  CONSTRAINT id_is_public CHECK (id ~ '^[0-9a-z]{12}$'),
  CONSTRAINT name_is_bounded CHECK (length(name) BETWEEN 1 AND 100),
  CONSTRAINT secret_is_hashed CHECK (length(secret_hash) = 32),
  CONSTRAINT scopes_are_known CHECK (scopes <@ ARRAY['enqueue', 'read', 'operate', 'admin'] AND cardinality(scopes) > 0),
  CONSTRAINT a_users_key_is_no_operators CHECK (user_id IS NULL OR scopes <@ ARRAY['enqueue', 'read']),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT limits_are_positive CHECK (requests_per_minute > 0 AND most_waiting > 0),
  CONSTRAINT max_body_in_bounds CHECK (max_body_kb BETWEEN 1 AND 51200)
);
-- An app may make a key for each of its users.
CREATE INDEX api_token_created ON generation.api_token (created_at, id);

-- When each key may be used next, for the whole fleet. Every request writes here, so it is not logged: a write costs no
-- wait for the disk, and after a crash of the server the counting begins anew.
CREATE UNLOGGED TABLE generation.api_token_pace (
  token_id text        PRIMARY KEY,
  next_at  timestamptz NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A browser that signed in to the dashboard with a key. The browser's secret is not kept, only its hash. What the session may
-- do is what its key may do: a key that is revoked or expired ends its sessions.
CREATE TABLE generation.dashboard_session (
  id_hash    bytea       PRIMARY KEY,
  token_id   text        NOT NULL REFERENCES generation.api_token ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  CONSTRAINT id_is_hashed CHECK (length(id_hash) = 32),
  CONSTRAINT it_ends CHECK (expires_at > created_at)
);
CREATE INDEX dashboard_session_expired ON generation.dashboard_session (expires_at);

-- Every change by a person or a key: who, what, why, and from what to what. Written in the transaction of the change, without
-- secrets or prompts. Rows are never changed and never pruned.
CREATE TABLE generation.audit_event (
  id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor  text        NOT NULL,
  action text        NOT NULL,
  target text        NOT NULL,
  reason text,
  before jsonb,
  after  jsonb,
  CONSTRAINT actor_is_named CHECK (length(actor) BETWEEN 1 AND 255),
  CONSTRAINT action_is_bounded CHECK (length(action) BETWEEN 1 AND 100),
  CONSTRAINT target_is_bounded CHECK (length(target) BETWEEN 1 AND 300),
  CONSTRAINT reason_is_bounded CHECK (length(reason) <= 2000)
);
CREATE INDEX audit_event_target ON generation.audit_event (target, id);
CREATE INDEX audit_event_actor ON generation.audit_event (actor, id);

CREATE FUNCTION generation.refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: it cannot be changed by %', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'GW003', HINT = 'What was done wrong is done again, and recorded again.';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON generation.audit_event
  FOR EACH ROW EXECUTE FUNCTION generation.refuse_change_of_history();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON generation.audit_event
  FOR EACH STATEMENT EXECUTE FUNCTION generation.refuse_change_of_history();

-- The first rows ------------------------------------------------------------------------------------------------------

INSERT INTO generation.fleet_setting (name, value) VALUES
  ('price.text_to_image', '1'), ('price.image_conversion', '1'), ('price.image_processing', '0'),
  ('caller_may_set_cost', 'false'), ('seconds_per_credit', '10'), ('credits_low', '10');

INSERT INTO generation.maintenance_task (name) VALUES ('audit'), ('expire'), ('hold'), ('prune'), ('reclaim'), ('sweep');

-- Who may use what ------------------------------------------------------------------------------------------------------
--
-- Nobody but the owner. A new function may be called, and a new type used, by everybody until that is revoked. What default
-- privileges grant beyond that (Supabase's grant everything to the role anon) is revoked after each migration by
-- `generation-worker migrate`, for the objects that it made. sql/roles.sql grants what an app, a reader and a worker need.

REVOKE ALL ON generation.api_token, generation.api_token_pace, generation.audit_event, generation.credit_account,
  generation.credit_entry, generation.dashboard_session, generation.fleet_setting, generation.generation_job,
  generation.job_attempt, generation.maintenance_task, generation.provider_call, generation.provider_gate,
  generation.staged_image, generation.swept_upload, generation.webhook_batch, generation.webhook_delivery,
  generation.webhook_endpoint, generation.worker_process
  FROM PUBLIC;
REVOKE ALL ON SEQUENCE generation.audit_event_id_seq, generation.webhook_batch_id_seq FROM PUBLIC;
REVOKE ALL ON TYPE generation.planned_generation FROM PUBLIC;
REVOKE ALL ON FUNCTION generation.adjust_credits, generation.cancel_generation, generation.enqueue_generation,
  generation.enqueue_generations, generation.gate_count, generation.gate_limit, generation.gate_room_in,
  generation.gate_stamp, generation.gate_sum, generation.gate_decisecond, generation.gate_window,
  generation.generation_is_a_moment, generation.generation_length, generation.generation_line_end,
  generation.generation_pauses, generation.generation_payload_problem, generation.generation_price,
  generation.generation_request_problem, generation.generation_uuid, generation.grant_credits, generation.offer_providers,
  generation.post_credits, generation.refund_generation, generation.refuse_change, generation.refuse_change_of_history,
  generation.refuse_change_of_request, generation.refuse_delete, generation.refuse_insert, generation.refuse_payload,
  generation.refuse_transition, generation.refuse_truncate, generation.write_breaker_delivery, generation.write_job_deliveries,
  generation.write_low_credits_delivery, generation.webhook_body, generation.webhook_moment
  FROM PUBLIC;
