DROP TRIGGER payload_fits ON generation_job;
DROP FUNCTION refuse_payload();

CREATE OR REPLACE FUNCTION generation_line_end(user_id text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT greatest(statement_timestamp(), (
    SELECT j.position + generation_length(j.cost, j.user_id) FROM generation_job j
     WHERE j.user_id = generation_line_end.user_id AND j.status = 'pending' ORDER BY j.position DESC LIMIT 1))
$$;
