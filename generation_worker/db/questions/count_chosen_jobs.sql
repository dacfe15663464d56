-- How many jobs a filter chooses. What is null chooses all.
SELECT count(*) AS jobs FROM generation_job
 WHERE status = ANY (%(statuses)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   AND (%(provider)s::text IS NULL OR provider = %(provider)s)
   AND (%(user)s::text IS NULL OR user_id = %(user)s)
   AND (%(batch)s::uuid IS NULL OR batch_id = %(batch)s)
   AND (%(worker)s::text IS NULL OR locked_by = %(worker)s)
   AND (%(older)s::float8 IS NULL OR coalesce(locked_at, created_at) < statement_timestamp() - make_interval(secs => %(older)s))
