DROP TRIGGER tell ON provider_gate;
DROP TRIGGER tell ON generation_job;
DROP FUNCTION tell_of_breaker(), tell_of_endings(), webhook_body(text, timestamptz, jsonb), webhook_moment(timestamptz);
DROP TABLE webhook_batch, webhook_delivery, webhook_endpoint;
