-- Makes a worker known and what it offers enqueueable; the fleet's first worker settles the default provider. The gates of
-- its keys take on the limits that it was given, unless the fleet has settings for them, and a breaker that is open tries
-- again: somebody may have mended the cause.
-- Deletes workers that have not been seen for a day, and gates whose key no worker has.
--
-- A gate's window is moved on to this moment: to a worker that starts at the same time, and does not see this one yet, the
-- gate looks as used as it is, once it has waited for the row.
WITH known AS (
  INSERT INTO generation.worker_process (id, version, providers, concurrency, keys)
  VALUES (%(worker)s, %(version)s, %(providers)s, %(concurrency)s, %(keys)s)
  ON CONFLICT (id) DO UPDATE
     SET started_at = clock_timestamp(), seen_at = clock_timestamp(), asleep = false, version = excluded.version,
         providers = excluded.providers, concurrency = excluded.concurrency, keys = excluded.keys, busy = 0, stuck = 0
), forgotten AS (
  DELETE FROM generation.worker_process WHERE seen_at < statement_timestamp() - interval '1 day' AND id <> %(worker)s
), gate AS (
  INSERT INTO generation.provider_gate (key_label, provider, calls_per_minute, given_per_minute, head)
  SELECT label, provider, generation.gate_limit(label, provider, calls), calls, generation.gate_decisecond(clock_timestamp())
    FROM unnest(%(keys)s::text[], %(key_providers)s::text[], %(limits)s::int[]) AS key (label, provider, calls) ORDER BY label
  ON CONFLICT (key_label) DO UPDATE
     SET head = greatest(provider_gate.head, excluded.head),
         used = generation.gate_window(provider_gate.used, provider_gate.head, excluded.head),
         calls_per_minute = excluded.calls_per_minute, given_per_minute = excluded.given_per_minute,
         limited_since = CASE WHEN provider_gate.calls_per_minute = excluded.calls_per_minute THEN provider_gate.limited_since
                              ELSE clock_timestamp() END,
         open_until = CASE provider_gate.breaker WHEN 'open' THEN least(provider_gate.open_until, clock_timestamp()) END
), without_key AS (
  DELETE FROM generation.provider_gate g
   WHERE g.head < generation.gate_decisecond(statement_timestamp() - interval '1 day')
     AND coalesce(greatest(g.closed_until, g.open_until) < statement_timestamp() - interval '1 day', true)
     AND g.key_label <> ALL (%(keys)s) AND NOT EXISTS (SELECT FROM generation.worker_process w WHERE g.key_label = ANY (w.keys))
)
SELECT generation.offer_providers(%(providers)s)
