-- KiB that a body sent with the key may have; NULL: as the settings say, as with the two other limits.
ALTER TABLE api_token ADD COLUMN max_body_kb integer;
ALTER TABLE api_token ADD CONSTRAINT max_body_in_bounds CHECK (max_body_kb BETWEEN 1 AND 51200);
