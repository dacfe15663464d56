-- A balance that runs low is told when it falls below fleet_setting credits_low, and again when it does so again. Looked for
-- once a statement, as the ends of jobs are: without an endpoint that wants it, a claim of hundreds asks one small question.
ALTER TABLE webhook_endpoint DROP CONSTRAINT events_are_known;
ALTER TABLE webhook_endpoint ADD CONSTRAINT events_are_known CHECK (cardinality(events) > 0 AND events <@ ARRAY[
  'job.completed', 'job.failed', 'job.cancelled', 'batch.finished', 'breaker.opened', 'credits.low']);

INSERT INTO fleet_setting (name, value) VALUES ('credits_low', '10');

-- Of the entries that one statement makes for a user, only that one tells which takes the balance over the threshold.
CREATE FUNCTION tell_of_low_credits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM webhook_endpoint WHERE disabled_at IS NULL AND 'credits.low' = ANY (events)) THEN
    RETURN NULL;
  END IF;
  INSERT INTO webhook_delivery (endpoint_id, event, body)
  SELECT e.id, 'credits.low', webhook_body('credits.low', statement_timestamp(), jsonb_build_object(
           'user_id', a.user_id, 'balance', a.balance_after, 'threshold', low.threshold, 'job_id', a.job_id))
    FROM (SELECT value::text::bigint AS threshold FROM fleet_setting WHERE name = 'credits_low') AS low
    JOIN added a ON a.balance_after < low.threshold AND a.balance_after - a.amount >= low.threshold
    JOIN webhook_endpoint e ON 'credits.low' = ANY (e.events) AND (e.user_id IS NULL OR e.user_id = a.user_id)
   WHERE e.disabled_at IS NULL;
  RETURN NULL;
END $$;

CREATE TRIGGER tell AFTER INSERT ON credit_entry REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION tell_of_low_credits();

DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION tell_of_low_credits() SET search_path = %I, pg_temp', current_schema());
END $$;
