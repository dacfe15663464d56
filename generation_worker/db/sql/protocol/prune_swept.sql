-- Forgets uploads that were deleted so long ago that every job which ended before is deleted, too.
WITH old AS MATERIALIZED (
  SELECT key FROM generation.swept_upload
   WHERE swept_at < statement_timestamp() - make_interval(secs => %(retention)s)
   ORDER BY swept_at LIMIT %(limit)s
)
DELETE FROM generation.swept_upload s USING old WHERE s.key = old.key
