-- Remembers that these uploads were deleted, so that a job which names one is not replayed in vain.
INSERT INTO generation.swept_upload (key) SELECT unnest(%(keys)s::text[]) ON CONFLICT (key) DO NOTHING
