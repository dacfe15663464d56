-- Keeps what a maintenance task has found, for queries before its next run.
UPDATE generation.maintenance_task SET found = %(found)s::jsonb WHERE name = %(name)s
