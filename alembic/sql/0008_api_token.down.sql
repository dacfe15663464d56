DROP TABLE api_token_pace;
DROP TABLE api_token;
