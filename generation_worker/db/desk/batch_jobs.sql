-- The jobs of a batch, in their order; of one user, if one is asked for.
SELECT {job_columns}
  FROM generation_job j WHERE j.batch_id = %(id)s AND (%(user)s::text IS NULL OR j.user_id = %(user)s)
 ORDER BY j.batch_index, j.id LIMIT %(limit)s
