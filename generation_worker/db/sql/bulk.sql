-- Chooses many jobs by a filter. Both statements have the same conditions, word for word.

-- name: count_chosen_jobs
-- How many jobs of each status a filter chooses.
SELECT j.status, count(*) AS jobs FROM generation.generation_job j
 WHERE j.status = ANY (%(statuses)s)
       AND (%(kind)s::text IS NULL OR j.kind = %(kind)s)
       AND (%(provider)s::text IS NULL OR j.provider = %(provider)s)
       AND (%(user)s::text IS NULL OR j.user_id = %(user)s AND (j.status <> 'processing' OR j.status = 'processing'))
       AND (%(batch)s::uuid IS NULL OR j.batch_id = %(batch)s)
       AND (%(worker)s::text IS NULL OR j.locked_by = %(worker)s)
       AND (%(code)s::text IS NULL OR j.error_code = %(code)s)
       AND (%(older)s::float8 IS NULL
            OR coalesce(j.locked_at, j.created_at) < statement_timestamp() - make_interval(secs => %(older)s))
       AND CASE %(action)s::text
           WHEN 'cancel' THEN j.cancel_requested_at IS NULL
           WHEN 'release' THEN coalesce(j.lease_expires_at, j.run_at) > statement_timestamp()
           WHEN 'replay' THEN NOT EXISTS (SELECT FROM generation.generation_job r WHERE r.retry_of = j.id) END
 GROUP BY j.status ORDER BY j.status

-- name: chosen_jobs
-- The jobs that a filter chooses, in the order of their ids, from one on.
SELECT j.id FROM generation.generation_job j
 WHERE j.id > %(after)s AND j.status = ANY (%(statuses)s)
                            AND (%(kind)s::text IS NULL OR j.kind = %(kind)s)
                            AND (%(provider)s::text IS NULL OR j.provider = %(provider)s)
                            AND (%(user)s::text IS NULL OR j.user_id = %(user)s AND (j.status <> 'processing' OR j.status = 'processing'))
                            AND (%(batch)s::uuid IS NULL OR j.batch_id = %(batch)s)
                            AND (%(worker)s::text IS NULL OR j.locked_by = %(worker)s)
                            AND (%(code)s::text IS NULL OR j.error_code = %(code)s)
                            AND (%(older)s::float8 IS NULL
                                 OR coalesce(j.locked_at, j.created_at) < statement_timestamp() - make_interval(secs => %(older)s))
                            AND CASE %(action)s::text
                                WHEN 'cancel' THEN j.cancel_requested_at IS NULL
                                WHEN 'release' THEN coalesce(j.lease_expires_at, j.run_at) > statement_timestamp()
                                WHEN 'replay' THEN NOT EXISTS (SELECT FROM generation.generation_job r WHERE r.retry_of = j.id) END
 ORDER BY j.id LIMIT %(limit)s
