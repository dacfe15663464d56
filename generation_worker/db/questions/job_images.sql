-- The images of a job's result, without the rest of its row.
SELECT result -> 'images' AS images FROM generation_job WHERE id = %(id)s
