-- Keys of the HTTP API: gw_live_<id>_<secret>. The secret is shown once and not kept. A row is never deleted: as long as
-- there is one, even a revoked one, nobody is let in without a key.
CREATE TABLE api_token (
  id                  text        PRIMARY KEY,
  name                text        NOT NULL,
  secret_hash         bytea       NOT NULL,
  scopes              text[]      NOT NULL,
  user_id             text,
  requests_per_minute integer,
  most_waiting        integer,
  created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by          text,
  expires_at          timestamptz,
  revoked_at          timestamptz,
  last_used_at        timestamptz,
  CONSTRAINT id_is_public CHECK (id ~ '^[0-9a-z]{12}$'),
  CONSTRAINT name_is_bounded CHECK (length(name) BETWEEN 1 AND 100),
  CONSTRAINT secret_is_hashed CHECK (length(secret_hash) = 32),
  CONSTRAINT scopes_are_known CHECK (scopes <@ ARRAY['enqueue', 'read', 'operate', 'admin'] AND cardinality(scopes) > 0),
  CONSTRAINT a_users_key_is_no_operators CHECK (user_id IS NULL OR scopes <@ ARRAY['enqueue', 'read']),
  CONSTRAINT user_id_is_named CHECK (length(user_id) BETWEEN 1 AND 255),
  CONSTRAINT limits_are_positive CHECK (requests_per_minute > 0 AND most_waiting > 0)
);

-- When each key may be used next, for the whole fleet. Every request writes here, so it is not logged: a write costs no
-- wait for the disk, and after a crash of the server the pace begins anew.
CREATE UNLOGGED TABLE api_token_pace (
  token_id text        PRIMARY KEY,
  next_at  timestamptz NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
