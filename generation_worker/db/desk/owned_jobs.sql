-- Which of these jobs belong to a user.
SELECT id, user_id FROM generation_job WHERE id = ANY (%(ids)s::uuid[]) AND (%(user)s::text IS NULL OR user_id = %(user)s)
