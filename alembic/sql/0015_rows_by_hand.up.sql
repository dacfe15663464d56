-- A claim carries the payloads of all jobs that it takes. One that no enqueue lets in must not come past it either, or it
-- could make claims fail that others wait for. Asked at the insert only: a payload never changes.
CREATE FUNCTION refuse_payload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'generation_job: payload: larger than 256 kB; store images first and name them by key'
    USING ERRCODE = 'GW006', HINT = 'Enqueue with enqueue_generation(), which looks at the whole request.';
END $$;

CREATE TRIGGER payload_fits BEFORE INSERT ON generation_job FOR EACH ROW
  WHEN (octet_length(NEW.payload::text) > 262144) EXECUTE FUNCTION refuse_payload();

-- A place that somebody wrote into a row by hand counts up to a year that can still be added to: behind the end of all
-- dates there is no line, and a promotion that asks for it would fail for everybody whose jobs are due with this user's.
CREATE OR REPLACE FUNCTION generation_line_end(user_id text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(statement_timestamp(), (
    SELECT least(j.position, timestamptz '9999-01-01 00:00+00') + generation_length(j.cost, j.user_id) FROM generation_job j
     WHERE j.user_id = generation_line_end.user_id AND j.status = 'pending' ORDER BY j.position DESC LIMIT 1))
$$;
