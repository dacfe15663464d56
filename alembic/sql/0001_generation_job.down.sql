DROP TABLE maintenance_task, worker_process, fleet_setting, credit_entry, credit_account, provider_call, job_attempt,
  generation_job;
DROP FUNCTION refund_generation(), refuse_change(), refuse_insert(), refuse_delete(), refuse_truncate(), refuse_change_of_request(), refuse_transition(),
  generation_uuid();
