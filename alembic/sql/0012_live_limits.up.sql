-- given_per_minute: what the worker that registered last was started with. It holds unless the fleet has a setting
-- «calls_per_minute.X» for the key or its provider, and again when that is taken back.
ALTER TABLE provider_gate ADD COLUMN given_per_minute integer;
ALTER TABLE provider_gate ADD CONSTRAINT given_per_minute_in_bounds CHECK (given_per_minute BETWEEN 1 AND 30000);

-- What a key may call in a minute. A setting that somebody has written past the checks must not keep a worker from starting.
CREATE FUNCTION gate_limit(key_label text, provider text, given integer) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT CASE jsonb_typeof(value) WHEN 'number' THEN least(greatest(value::numeric, 1), 30000)::integer END
       FROM fleet_setting WHERE name = 'calls_per_minute.' || key_label),
    (SELECT CASE jsonb_typeof(value) WHEN 'number' THEN least(greatest(value::numeric, 1), 30000)::integer END
       FROM fleet_setting WHERE name = 'calls_per_minute.' || provider),
    given)
$$;
