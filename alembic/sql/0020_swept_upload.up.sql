-- Uploads that a worker has deleted because they were old and no job that waited or ran named them. A job that ended may
-- name one still, and is not replayed then. Kept for as long as jobs are.
CREATE TABLE swept_upload (
  key      text        PRIMARY KEY,
  swept_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX swept_upload_at ON swept_upload (swept_at);
