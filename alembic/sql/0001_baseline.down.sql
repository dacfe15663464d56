-- Removes everything, with all jobs, credits and records. The functions that read tables go first, those that tables need last.
DROP FUNCTION generation.enqueue_generation, generation.enqueue_generations, generation.cancel_generation,
  generation.grant_credits, generation.adjust_credits, generation.post_credits, generation.offer_providers,
  generation.generation_request_problem, generation.generation_payload_problem, generation.generation_is_a_moment,
  generation.generation_price, generation.generation_line_end, generation.generation_length, generation.generation_pauses,
  generation.gate_limit;
DROP TABLE generation.dashboard_session, generation.api_token, generation.api_token_pace, generation.audit_event,
  generation.webhook_endpoint, generation.webhook_delivery, generation.webhook_batch, generation.credit_entry,
  generation.credit_account, generation.generation_job, generation.job_attempt, generation.provider_call,
  generation.staged_image, generation.swept_upload, generation.maintenance_task, generation.provider_gate,
  generation.worker_process, generation.fleet_setting;
DROP TYPE generation.planned_generation;
DROP FUNCTION generation.write_job_deliveries, generation.write_breaker_delivery, generation.write_low_credits_delivery,
  generation.webhook_body, generation.webhook_moment, generation.refund_generation, generation.refuse_change,
  generation.refuse_change_of_history, generation.refuse_change_of_request, generation.refuse_delete,
  generation.refuse_insert, generation.refuse_payload, generation.refuse_transition, generation.refuse_truncate,
  generation.gate_stamp, generation.gate_count, generation.gate_room_in, generation.gate_sum, generation.gate_window,
  generation.gate_decisecond, generation.generation_uuid;
