DROP INDEX api_token_created;
DROP INDEX credit_account_beginning;
