DROP FUNCTION generation_pauses;
DELETE FROM maintenance_task WHERE name = 'hold';
DELETE FROM fleet_setting WHERE name = 'paused' OR starts_with(name, 'paused.');
DROP INDEX generation_job_held;
DROP INDEX generation_job_claim;
ALTER TABLE generation_job DROP COLUMN held;
CREATE INDEX generation_job_claim ON generation_job (provider, priority, position, id) WHERE status = 'pending';
