-- What is paused, since when, by whom and why.
SELECT name, value ->> 'reason' AS reason, updated_at AS since, updated_by AS by
  FROM fleet_setting WHERE name = 'paused' OR starts_with(name, 'paused.') ORDER BY name
