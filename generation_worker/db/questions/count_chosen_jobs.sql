-- How many jobs of each status a filter chooses.
SELECT j.status, count(*) AS jobs FROM generation_job j
 WHERE {is_chosen}
 GROUP BY j.status ORDER BY j.status
