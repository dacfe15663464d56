-- Remembers how far a task has come. Two workers at it at once do no harm: some of it is done twice.
UPDATE generation.maintenance_task SET cursor = %(cursor)s WHERE name = %(name)s
