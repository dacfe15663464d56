-- It gets one parameter less, so it is another function to PostgreSQL: whoever may call the old one may call the new one.
DO $$
BEGIN
  PERFORM set_config('generation_worker.enqueuers', coalesce(string_agg(a.grantee::regrole::text, ', '), ''), true)
    FROM pg_proc p, aclexplode(p.proacl) a
   WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = 'enqueue_generation'
     AND a.grantee NOT IN (0, p.proowner);
END $$;
DROP FUNCTION enqueue_generation(text, text, jsonb, text, bigint, integer, timestamptz, text, integer, uuid, integer, timestamptz, uuid, text, text);
-- The first thing that is wrong with one request of enqueue_generations, or null.
CREATE OR REPLACE FUNCTION generation_request_problem(request jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  name text;
  asked text := request->>'provider';
  second text := request->>'fallback_provider';
  offered jsonb := (SELECT value FROM fleet_setting WHERE fleet_setting.name = 'providers');
  number numeric;
BEGIN
  IF jsonb_typeof(request) <> 'object' THEN
    RETURN 'must be a JSON object';
  END IF;
  FOR name IN SELECT jsonb_object_keys(request) EXCEPT SELECT unnest('{kind,user_id,payload,provider,fallback_provider,cost,priority,
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
  IF second IS NOT NULL THEN
    IF request->>'kind' = 'image_processing' THEN
      RETURN 'fallback_provider: image_processing is done without a provider; leave it out';
    ELSIF second = coalesce(asked, (SELECT value #>> '{}' FROM fleet_setting WHERE fleet_setting.name = 'default_provider')) THEN
      RETURN format('fallback_provider: %L is the first provider already; name another, or leave it out', second);
    ELSIF second = 'none' OR NOT coalesce(offered ? second, true) THEN
      RETURN format('fallback_provider: no worker offers %L; offered are %s', second,
        (SELECT string_agg(o, ', ' ORDER BY o) FROM jsonb_array_elements_text(offered) o));
    END IF;
  END IF;
  RETURN NULL;
END $$;

-- Enqueues one job for each element of a JSON array of 1 to 1000 objects, all or none. The objects have the names and
-- meanings of enqueue_generation's parameters. Returns the jobs in the order of the requests.
CREATE OR REPLACE FUNCTION enqueue_generations(jobs jsonb)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE plpgsql SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
  problem text;
  planned planned_generation[];
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
     CROSS JOIN jsonb_to_record(request) AS r (kind text, user_id text, payload jsonb, provider text, fallback_provider text, cost bigint,
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
      id, kind, user_id, CASE WHEN later THEN 'scheduled' ELSE 'pending' END, chosen, fallback_provider, payload, price,
      coalesce(priority, 0), place, max_attempts, due, coalesce(deadline_at, due + interval '1 day'), batch, i, idempotency_key,
      CASE WHEN idempotency_key IS NOT NULL THEN
        sha256(convert_to(jsonb_build_array(kind, payload, provider, cost, coalesce(count, 1))::text, 'UTF8')) END,
      retry_of)::planned_generation ORDER BY n, i)
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
  INSERT INTO generation_job (id, kind, user_id, status, provider, fallback_provider, payload, cost, priority, position, max_attempts, run_at,
    deadline_at, batch_id, batch_index, idempotency_key, request_hash, retry_of)
  SELECT p.* FROM unnest(planned) p
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
--   fallback_provider  who makes it instead while the first one's breaker is open
--   cost             credits; by default the price. Another one only while caller_may_set_cost is true.
--   priority         lower goes first; 0 by default
--   run_at           not before then; deadline_at: failed and refunded if not done by then (a day after run_at)
--   idempotency_key  the same key and request give the same job again (duplicate is true); another request is refused
CREATE FUNCTION enqueue_generation(
  kind text, user_id text, payload jsonb, provider text DEFAULT NULL, cost bigint DEFAULT NULL,
  priority integer DEFAULT NULL, run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
  count integer DEFAULT NULL, batch_id uuid DEFAULT NULL, max_attempts integer DEFAULT NULL,
  deadline_at timestamptz DEFAULT NULL, retry_of uuid DEFAULT NULL,
  fallback_provider text DEFAULT NULL)
RETURNS TABLE (id uuid, status text, batch uuid, duplicate boolean)
LANGUAGE sql SECURITY DEFINER AS $$
  SELECT * FROM enqueue_generations(jsonb_build_array(jsonb_build_object(
    'kind', $1, 'user_id', $2, 'payload', $3, 'provider', $4, 'cost', $5, 'priority', $6, 'run_at', $7,
    'idempotency_key', $8, 'count', $9, 'batch_id', $10, 'max_attempts', $11, 'deadline_at', $12, 'retry_of', $13,
    'fallback_provider', $14)))
$$;

DO $$
BEGIN
  EXECUTE (SELECT string_agg(format('ALTER FUNCTION %s SET search_path = %I, pg_temp; REVOKE ALL ON FUNCTION %s FROM PUBLIC',
      p.oid::regprocedure, current_schema(), p.oid::regprocedure), ';')
    FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('enqueue_generations', 'enqueue_generation'));
END $$;

DO $$
BEGIN
  IF current_setting('generation_worker.enqueuers') <> '' THEN
    EXECUTE 'GRANT EXECUTE ON FUNCTION enqueue_generation TO ' || current_setting('generation_worker.enqueuers');
  END IF;
END $$;

ALTER TYPE planned_generation DROP ATTRIBUTE traceparent;
ALTER TABLE generation_job DROP COLUMN traceparent;
