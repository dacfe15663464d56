-- Records that the worker is alive, and what it is doing. A gate that was deleted is inserted again: without it, no job of its
-- provider would be claimed. A limit that differs from the fleet's settings is corrected: a worker that started while one was
-- changed may have undone it. Returns the settings that the whole fleet follows and the endpoints' events, if their version is
-- not the one that the worker knows.
WITH gate AS (
  INSERT INTO generation.provider_gate (key_label, provider, calls_per_minute, given_per_minute)
  SELECT label, provider, generation.gate_limit(label, provider, calls), calls
    FROM unnest(%(keys)s::text[], %(key_providers)s::text[], %(limits)s::int[]) AS key (label, provider, calls)
   WHERE NOT EXISTS (SELECT FROM generation.provider_gate g WHERE g.key_label = label)
  ON CONFLICT (key_label) DO NOTHING
), limit_now AS MATERIALIZED (
  SELECT key_label, generation.gate_limit(key_label, provider, given_per_minute) AS calls FROM generation.provider_gate
   WHERE key_label = ANY (%(keys)s::text[]) AND calls_per_minute <> generation.gate_limit(key_label, provider, given_per_minute)
   ORDER BY key_label FOR NO KEY UPDATE
), limited AS (
  UPDATE generation.provider_gate g SET calls_per_minute = n.calls, limited_since = clock_timestamp()
    FROM limit_now n WHERE g.key_label = n.key_label
), seen AS (
  UPDATE generation.worker_process
     SET seen_at = clock_timestamp(), concurrency = %(concurrency)s, busy = %(busy)s, stuck = %(stuck)s
   WHERE id = %(worker)s
), control AS (
  SELECT coalesce(jsonb_object_agg(name, jsonb_build_object('value', value, 'since', updated_at, 'by', updated_by)), '{}')
           AS settings
    FROM generation.fleet_setting
   WHERE name IN ('concurrency', 'poll_interval', 'paused', 'woken')
      OR starts_with(name, 'paused.provider.') OR starts_with(name, 'paused.kind.')
), published AS (
  SELECT jsonb_build_object(
           'events', coalesce((SELECT jsonb_agg(DISTINCT event ORDER BY event) FROM generation.webhook_endpoint, unnest(events) AS event
                                WHERE disabled_at IS NULL), '[]'),
           'disabled', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'since', disabled_at, 'reason', disabled_for) ORDER BY id)
                                   FROM (SELECT * FROM generation.webhook_endpoint WHERE disabled_at IS NOT NULL ORDER BY id LIMIT 20) e), '[]'))
           AS webhooks
)
SELECT version, settings, webhooks FROM control, published, LATERAL md5(settings::text || webhooks::text) AS version
 WHERE version <> %(known)s
