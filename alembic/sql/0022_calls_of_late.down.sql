DROP INDEX provider_call_started;
