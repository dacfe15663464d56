-- What keeps a job waiting, or would if it waited.
SELECT name, value ->> 'reason' AS reason, updated_at AS since, updated_by AS by
  FROM generation_job j, generation_pauses(j.kind, j.provider, j.user_id) WHERE j.id = %(id)s
