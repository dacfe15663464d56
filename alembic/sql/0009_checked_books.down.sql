DELETE FROM maintenance_task WHERE name = 'audit';

ALTER TABLE maintenance_task DROP COLUMN found;
