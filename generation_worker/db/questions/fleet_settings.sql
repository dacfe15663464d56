-- What the whole fleet follows, prices included.
SELECT name, value, updated_at, updated_by FROM fleet_setting ORDER BY name
