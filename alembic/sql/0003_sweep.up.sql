-- A task that works its way through something larger than one run remembers here how far the fleet has come.
ALTER TABLE maintenance_task ADD COLUMN cursor text;

INSERT INTO maintenance_task (name) VALUES ('sweep');
