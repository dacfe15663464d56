-- Somebody who signed in to the dashboard with a key, in one browser. What the browser shows is not kept, only its hash; and
-- whoever it lets in, and to what, says the key: revoked or expired, it ends its sessions with it.
CREATE TABLE dashboard_session (
  id_hash    bytea       PRIMARY KEY,
  token_id   text        NOT NULL REFERENCES api_token ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  CONSTRAINT id_is_hashed CHECK (length(id_hash) = 32),
  CONSTRAINT it_ends CHECK (expires_at > created_at)
);
CREATE INDEX dashboard_session_expired ON dashboard_session (expires_at);
