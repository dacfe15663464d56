-- What the whole fleet follows, prices included.
SELECT name, value, updated_at, updated_by FROM fleet_setting WHERE name <> 'woken' ORDER BY name
