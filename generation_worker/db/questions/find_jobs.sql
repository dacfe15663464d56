-- The jobs whose ids lie between two ids: those that begin alike.
SELECT id FROM generation_job WHERE id BETWEEN %(low)s AND %(high)s ORDER BY id LIMIT %(limit)s
