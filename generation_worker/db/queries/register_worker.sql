-- Makes a worker known and what it offers enqueueable; the fleet's first worker settles the default provider.
-- Workers that nobody has heard of for a day are forgotten.
WITH known AS (
  INSERT INTO worker_process (id, version, providers, concurrency)
  VALUES (%(worker)s, %(version)s, %(providers)s, %(concurrency)s)
  ON CONFLICT (id) DO UPDATE
     SET started_at = clock_timestamp(), seen_at = clock_timestamp(), asleep = false, version = excluded.version,
         providers = excluded.providers, concurrency = excluded.concurrency, busy = 0, stuck = 0
), forgotten AS (
  DELETE FROM worker_process WHERE seen_at < statement_timestamp() - interval '1 day' AND id <> %(worker)s
)
SELECT offer_providers(%(providers)s)
