-- Keeps the bytes of an image that was paid for and cannot be stored just now, for the next attempt to store. Not fenced:
-- they are paid for regardless of who holds the lease. A job that is over needs them no more.
INSERT INTO generation.staged_image (job_id, provider, model, bytes)
SELECT id, %(provider)s, %(model)s, %(bytes)s FROM generation.generation_job
 WHERE id = %(job_id)s AND status NOT IN ('completed', 'failed', 'cancelled')
ON CONFLICT (job_id) DO UPDATE SET provider = excluded.provider, model = excluded.model, bytes = excluded.bytes
