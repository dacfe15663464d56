DROP TRIGGER tell ON credit_entry;
DROP FUNCTION tell_of_low_credits();
DELETE FROM fleet_setting WHERE name = 'credits_low';
UPDATE webhook_endpoint SET events = array_remove(events, 'credits.low') WHERE 'credits.low' = ANY (events) AND cardinality(events) > 1;
DELETE FROM webhook_endpoint WHERE events = ARRAY['credits.low'];
ALTER TABLE webhook_endpoint DROP CONSTRAINT events_are_known;
ALTER TABLE webhook_endpoint ADD CONSTRAINT events_are_known CHECK (cardinality(events) > 0 AND events <@ ARRAY[
  'job.completed', 'job.failed', 'job.cancelled', 'batch.finished', 'breaker.opened']);
