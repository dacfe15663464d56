-- The jobs that a filter chooses, in the order of their ids, from one on.
SELECT j.id FROM generation_job j
 WHERE j.id > %(after)s AND {is_chosen}
 ORDER BY j.id LIMIT %(limit)s
