DELETE FROM maintenance_task WHERE name = 'sweep';

ALTER TABLE maintenance_task DROP COLUMN cursor;
