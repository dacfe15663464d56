-- Functions that earlier versions have made, and that everybody may call as long as nobody says otherwise. Those of later
-- migrations are closed by the migration itself, see generation_worker/db/migrations.py.
DO $$
BEGIN
  EXECUTE (SELECT string_agg(format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p.oid::regprocedure), ';')
    FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN (
      'gate_count', 'gate_room_in', 'gate_stamp', 'gate_sum', 'gate_tenth', 'gate_window', 'generation_is_a_moment',
      'generation_length', 'generation_line_end', 'generation_payload_problem', 'generation_price', 'generation_request_problem',
      'generation_uuid', 'offer_providers', 'refund_generation', 'refuse_change', 'refuse_change_of_history',
      'refuse_change_of_request', 'refuse_delete', 'refuse_insert', 'refuse_transition', 'refuse_truncate'));
END $$;
