-- How far the fleet has come with a task that takes many runs; null if it is to begin at the start.
SELECT cursor FROM generation.maintenance_task WHERE name = %(name)s
