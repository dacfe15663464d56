DELETE FROM fleet_setting WHERE starts_with(name, 'calls_per_minute.');
DROP FUNCTION gate_limit;
ALTER TABLE provider_gate DROP COLUMN given_per_minute;
