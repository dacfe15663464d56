-- A page of accounts that begin alike costs the same among millions, in whatever order the database has for texts.
CREATE INDEX credit_account_beginning ON credit_account (user_id text_pattern_ops);
-- An app may make a key for each of its users.
CREATE INDEX api_token_created ON api_token (created_at, id);
