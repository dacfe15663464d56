-- What an app in any language calls, inside its own transaction.
--
-- They run as their owner (SECURITY DEFINER), so that a role may enqueue without being able to touch a table, and with
-- a pinned search path that ends in pg_temp: a temporary table cannot stand in for one of ours.

-- The first thing that is wrong with a payload, as «field: problem», or null. It knows names, types and placeholders;
-- the worker checks the rest before it starts.
CREATE FUNCTION generation_payload_problem(kind text, payload jsonb) RETURNS text
LANGUAGE plpgsql STABLE AS $$
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
CREATE FUNCTION generation_price(kind text, provider text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT value::bigint FROM fleet_setting WHERE name = 'price.' || kind || '.' || provider),
    (SELECT value::bigint FROM fleet_setting WHERE name = 'price.' || kind))
$$;

-- Whether a text is a moment in time; infinity is none. Null for null.
CREATE FUNCTION generation_is_a_moment(text text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
  RETURN isfinite(text::timestamptz);
EXCEPTION WHEN data_exception THEN
  RETURN false;
END $$;

-- The first thing that is wrong with one request of enqueue_generations, or null.
CREATE FUNCTION generation_request_problem(request jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  name text;
  asked text := request->>'provider';
  offered jsonb := (SELECT value FROM fleet_setting WHERE fleet_setting.name = 'providers');
  number numeric;
BEGIN
  IF jsonb_typeof(request) <> 'object' THEN
    RETURN 'must be a JSON object';
  END IF;
  FOR name IN SELECT jsonb_object_keys(request) EXCEPT SELECT unnest('{kind,user_id,payload,provider,cost,priority,
    run_at,deadline_at,idempotency_key,count,batch_id,max_attempts,retry_of}'::text[]) ORDER BY 1
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
    IF NOT generation_is_a_moment(request->>name) THEN
      RETURN format('%s: %L is not a date and time, such as 2030-01-31T12:00:00Z', name, request->>name);
    END IF;
  END LOOP;
  IF (request->>'deadline_at')::timestamptz <= (request->>'run_at')::timestamptz THEN
    RETURN 'deadline_at: must lie after run_at';
  END IF;
  name := generation_payload_problem(request->>'kind', request->'payload');
  IF name IS NOT NULL THEN
    RETURN name;
  END IF;
  IF request->>'retry_of' IS NOT NULL THEN
    IF coalesce(request->>'count', '1') <> '1' THEN
      RETURN 'count: a replay is one job; leave it out';
    ELSIF NOT EXISTS (
      SELECT FROM generation_job j
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
    IF NOT EXISTS (SELECT FROM fleet_setting WHERE fleet_setting.name = 'default_provider') THEN
      RETURN 'provider: none is named and the fleet has no default yet; name one, or start a worker once';
    END IF;
  ELSIF asked = 'none' OR NOT coalesce(offered ? asked, true) THEN
    RETURN format('provider: no worker offers %L; offered are %s', asked,
      (SELECT string_agg(o, ', ' ORDER BY o) FROM jsonb_array_elements_text(offered) o));
  END IF;
  RETURN NULL;
END $$;

-- How long a job fills its user's private slot. A job that costs nothing counts as one credit: free work is shared
-- fairly too. A day is the most: the lines of the very dear, or of those who weigh next to nothing, would reach beyond the
-- end of time, and promoting one job whose place cannot be written would fail for everybody's.
CREATE FUNCTION generation_length(cost bigint, user_id text) RETURNS interval LANGUAGE sql STABLE AS $$
  SELECT make_interval(secs => least(86400, greatest(cost, 1)
    * (SELECT value::float8 FROM fleet_setting WHERE name = 'seconds_per_credit')
    / coalesce((SELECT fair_weight FROM credit_account a WHERE a.user_id = generation_length.user_id), 1)))
$$;

-- The moment from which a user's private slot is free: the end of their last pending job, or now.
CREATE FUNCTION generation_line_end(user_id text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(statement_timestamp(), (
    SELECT j.position + generation_length(j.cost, j.user_id) FROM generation_job j
     WHERE j.user_id = generation_line_end.user_id AND j.status = 'pending' ORDER BY j.position DESC LIMIT 1))
$$;

-- Enqueues one job for each element of a JSON array of 1 to 1000 objects, all or none. The objects have the names and
-- meanings of enqueue_generation's parameters. Returns the jobs in the order of the requests.
CREATE FUNCTION enqueue_generations(jobs jsonb)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
  problem text;
  planned generation_job[];
  broke record;
BEGIN
  IF jobs IS NULL OR jsonb_typeof(jobs) <> 'array' OR jsonb_array_length(jobs) NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'jobs: must be a JSON array of 1 to 1000 requests' USING ERRCODE = 'GW006';
  END IF;
  SELECT CASE WHEN jsonb_array_length(jobs) > 1 THEN format('jobs[%s].', n - 1) ELSE '' END || p INTO problem
    FROM jsonb_array_elements(jobs) WITH ORDINALITY e (request, n), generation_request_problem(request) p
   WHERE p IS NOT NULL ORDER BY n LIMIT 1;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'GW006';
  END IF;

  WITH asked AS (
    SELECT n, request, r.*, coalesce(
             CASE r.kind WHEN 'image_processing' THEN 'none' ELSE r.provider END,
             (SELECT value #>> '{}' FROM fleet_setting WHERE name = 'default_provider')) AS chosen
      FROM jsonb_array_elements(jobs) WITH ORDINALITY e (request, n)
     CROSS JOIN jsonb_to_record(request) AS r (kind text, user_id text, payload jsonb, provider text, cost bigint,
       priority integer, run_at timestamptz, deadline_at timestamptz, idempotency_key text, count integer,
       batch_id uuid, max_attempts integer, retry_of uuid)
  ), priced AS (
    SELECT *, coalesce(cost, generation_price(kind, chosen)) AS price,
           CASE WHEN count > 1 THEN coalesce(batch_id, generation_uuid()) ELSE batch_id END AS batch
      FROM asked
  ), image AS (
    SELECT *, generation_uuid() AS id, run_at > statement_timestamp() IS TRUE AS later,
           generation_length(price, user_id) AS length
      FROM priced CROSS JOIN generate_series(0, coalesce(count, 1) - 1) AS i
  ), line AS (
    SELECT user_id, generation_line_end(user_id) AS free_at FROM (SELECT DISTINCT user_id FROM image) u
  ), placed AS (
    SELECT *, CASE WHEN later THEN run_at ELSE statement_timestamp() END AS due,
           CASE WHEN later THEN run_at
                ELSE free_at + sum(length) FILTER (WHERE NOT later) OVER (PARTITION BY user_id ORDER BY n, i) - length
           END AS place
      FROM image JOIN line USING (user_id)
  )
  SELECT array_agg(row(
      id, kind, user_id, CASE WHEN later THEN 'scheduled' ELSE 'pending' END, chosen, payload, NULL, price, false,
      coalesce(priority, 0), place, 0, max_attempts, 0, 0, due, coalesce(deadline_at, due + interval '1 day'),
      NULL, NULL, NULL, NULL, NULL, batch, i, idempotency_key,
      CASE WHEN idempotency_key IS NOT NULL THEN
        sha256(convert_to(jsonb_build_array(kind, payload, provider, cost, coalesce(count, 1))::text, 'UTF8')) END,
      retry_of, NULL, NULL, clock_timestamp(), NULL, NULL)::generation_job ORDER BY n, i)
    INTO planned FROM placed;

  SELECT p.kind, p.provider, p.cost INTO broke FROM unnest(planned) p
   WHERE p.cost IS NULL OR p.cost <> generation_price(p.kind, p.provider)
     AND NOT coalesce((SELECT value::boolean FROM fleet_setting WHERE name = 'caller_may_set_cost'), false) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'cost: the price of % by % is %, not %; a caller may set it only while caller_may_set_cost is true',
      broke.kind, broke.provider, coalesce(generation_price(broke.kind, broke.provider)::text, 'not set'), broke.cost
      USING ERRCODE = 'GW006', HINT = 'Leave cost out.';
  END IF;

  -- In the order of the unique index, so that two callers with the same keys wait for each other and never in a circle.
  INSERT INTO generation_job SELECT p.* FROM unnest(planned) p
   ORDER BY p.user_id, p.idempotency_key, p.batch_index, p.id
  ON CONFLICT DO NOTHING;

  -- A statement of its own: it sees what another caller with the same key has just committed.
  SELECT p.user_id, p.idempotency_key AS key INTO broke FROM unnest(planned) p
    JOIN generation_job j USING (user_id, idempotency_key, batch_index)
   WHERE j.request_hash <> p.request_hash LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'idempotency_key: % was used by user % for another request', quote_literal(broke.key), broke.user_id
      USING ERRCODE = 'GW004', HINT = 'Use a new key for a new request, and the same request for the same key.';
  END IF;

  -- Early and kind, not exact: what decides is the debit when the work starts.
  SELECT u.user_id, w.owed, coalesce(a.balance, 0) AS balance INTO broke
    FROM (SELECT DISTINCT p.user_id FROM unnest(planned) p JOIN generation_job j ON j.id = p.id WHERE p.cost > 0) u
    CROSS JOIN LATERAL (
      SELECT sum(j.cost) AS owed FROM generation_job j
       WHERE j.user_id = u.user_id AND j.status IN ('pending', 'scheduled', 'rate_limited') AND NOT j.debited) w
    LEFT JOIN credit_account a ON a.user_id = u.user_id
   WHERE w.owed > coalesce(a.balance, 0) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'credits: user % has % and what is waiting, this request included, costs %',
      broke.user_id, broke.balance, broke.owed
      USING ERRCODE = 'GW005', HINT = 'Grant credits first: generation-worker credits grant USER AMOUNT';
  END IF;

  -- NOTIFY takes a lock on the whole instance at commit: only for a worker that sleeps.
  IF EXISTS (SELECT FROM worker_process w WHERE w.asleep AND w.seen_at > statement_timestamp() - interval '2 minutes') THEN
    PERFORM pg_notify('generation_worker', 'wake');
  END IF;

  RETURN QUERY
    SELECT j.id, j.status, j.batch_id, j.id <> p.id FROM unnest(planned) WITH ORDINALITY p
      JOIN generation_job j ON j.id = coalesce(
        (SELECT k.id FROM generation_job k WHERE k.id = p.id),
        (SELECT k.id FROM generation_job k WHERE k.user_id = p.user_id AND k.idempotency_key = p.idempotency_key
            AND k.batch_index = p.batch_index),
        (SELECT k.id FROM generation_job k WHERE k.retry_of = p.retry_of))
     ORDER BY p.ordinality;
END $$;

-- Enqueues one image, or a batch of `count` images, and returns a row for each.
--   provider         who makes it; by default the fleet's default_provider. Not for image_processing.
--   cost             credits; by default the price. Another one only while caller_may_set_cost is true.
--   priority         lower goes first; 0 by default
--   run_at           not before then; deadline_at: failed and refunded if not done by then (a day after run_at)
--   idempotency_key  the same key and request give the same job again (duplicate is true); another request is refused
CREATE FUNCTION enqueue_generation(
  kind text, user_id text, payload jsonb, provider text DEFAULT NULL, cost bigint DEFAULT NULL,
  priority integer DEFAULT NULL, run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
  count integer DEFAULT NULL, batch_id uuid DEFAULT NULL, max_attempts integer DEFAULT NULL,
  deadline_at timestamptz DEFAULT NULL, retry_of uuid DEFAULT NULL)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE sql SECURITY DEFINER AS $$
  SELECT * FROM enqueue_generations(jsonb_build_array(jsonb_build_object(
    'kind', $1, 'user_id', $2, 'payload', $3, 'provider', $4, 'cost', $5, 'priority', $6, 'run_at', $7,
    'idempotency_key', $8, 'count', $9, 'batch_id', $10, 'max_attempts', $11, 'deadline_at', $12, 'retry_of', $13)))
$$;

-- Cancels a job that waits, with its refund, at once; asks the worker to stop one that runs (it may still complete
-- first). Any other job stays as it is. Returns the job's status now, and no row if there is no such job.
CREATE FUNCTION cancel_generation(id uuid)
RETURNS TABLE (status text, cancel_requested boolean)
LANGUAGE plpgsql SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
  job generation_job;
BEGIN
  SELECT j.* INTO job FROM generation_job j WHERE j.id = $1 FOR NO KEY UPDATE;
  IF job.status IN ('pending', 'scheduled', 'rate_limited') THEN
    UPDATE generation_job j SET status = 'cancelled', finished_at = clock_timestamp(),
           cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp())
     WHERE j.id = $1;
  ELSIF job.status = 'processing' AND job.cancel_requested_at IS NULL THEN
    UPDATE generation_job j SET cancel_requested_at = clock_timestamp() WHERE j.id = $1;
    PERFORM pg_notify('generation_worker', 'cancel');
  END IF;
  RETURN QUERY SELECT j.status, j.cancel_requested_at IS NOT NULL FROM generation_job j WHERE j.id = $1;
END $$;

-- Moves credits that no job moves. The account is locked before the key is looked up: two callers with one key agree.
CREATE FUNCTION post_credits(user_id text, kind text, amount bigint, idempotency_key text, reason text, actor text)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
  account credit_account;
  known credit_entry;
BEGIN
  IF $3 IS NULL OR $3 = 0 OR $2 = 'grant' AND $3 < 0 OR $3 NOT BETWEEN -1000000000000 AND 1000000000000 THEN
    RAISE EXCEPTION 'amount: % is not an amount to %; it must be a whole number %, 1000000000000 at most',
      coalesce($3::text, 'nothing'), CASE $2 WHEN 'grant' THEN 'grant' ELSE 'adjust by' END,
      CASE $2 WHEN 'grant' THEN 'above zero' ELSE 'other than zero' END USING ERRCODE = 'GW006';
  END IF;
  IF coalesce(length($1), 0) NOT BETWEEN 1 AND 255 THEN
    RAISE EXCEPTION 'user_id: must have 1 to 255 characters' USING ERRCODE = 'GW006';
  END IF;
  INSERT INTO credit_account (user_id) VALUES ($1) ON CONFLICT DO NOTHING;
  SELECT a.* INTO STRICT account FROM credit_account a WHERE a.user_id = $1 FOR NO KEY UPDATE;
  SELECT e.* INTO known FROM credit_entry e WHERE e.user_id = $1 AND e.idempotency_key = $4;
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
  UPDATE credit_account a SET balance = a.balance + $3, entries = a.entries + 1 WHERE a.user_id = $1
  RETURNING * INTO account;
  INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, idempotency_key, reason, actor)
  VALUES ($1, account.entries, $2, $3, account.balance, $4, $5, $6);
  RETURN QUERY SELECT account.entries, account.balance, false;
END $$;

-- Gives a user credits, for instance in the transaction that records their payment. The same key gives them once.
CREATE FUNCTION grant_credits(user_id text, amount bigint, idempotency_key text DEFAULT NULL, reason text DEFAULT NULL,
                              actor text DEFAULT NULL)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE sql SECURITY DEFINER AS $$ SELECT * FROM post_credits($1, 'grant', $2, $3, $4, $5) $$;

-- Corrects a balance, up or down, never below zero.
CREATE FUNCTION adjust_credits(user_id text, amount bigint, idempotency_key text DEFAULT NULL, reason text DEFAULT NULL,
                               actor text DEFAULT NULL)
RETURNS TABLE (entry bigint, balance bigint, duplicate boolean)
LANGUAGE sql SECURITY DEFINER AS $$ SELECT * FROM post_credits($1, 'adjustment', $2, $3, $4, $5) $$;

-- Lets providers be named in requests; the first of them becomes the fleet's default if it has none yet.
CREATE FUNCTION offer_providers(names text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO fleet_setting (name, value) VALUES ('providers', to_jsonb(names))
  ON CONFLICT (name) DO UPDATE SET updated_at = clock_timestamp(),
    value = (SELECT jsonb_agg(DISTINCT n) FROM (SELECT unnest(names) UNION
             SELECT jsonb_array_elements_text(fleet_setting.value)) AS offered (n))
   WHERE NOT fleet_setting.value @> excluded.value;
  INSERT INTO fleet_setting (name, value) SELECT 'default_provider', to_jsonb(names[1]) WHERE names[1] IS NOT NULL
  ON CONFLICT (name) DO NOTHING;
$$;

DO $$
DECLARE
  definer regprocedure;
BEGIN
  FOR definer IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN
    ('enqueue_generations', 'enqueue_generation', 'cancel_generation', 'post_credits', 'grant_credits', 'adjust_credits')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
  END LOOP;
END $$;
