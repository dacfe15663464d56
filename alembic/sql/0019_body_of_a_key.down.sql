ALTER TABLE api_token DROP COLUMN max_body_kb;
