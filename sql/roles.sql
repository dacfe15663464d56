-- CHANGES ROLES
-- Makes three roles, or brings them up to date, of which each may do what it needs and nothing else: psql -v
-- enqueuer=web_app -v reader=grafana -v worker=images -f roles.sql, as the owner of the tables. Without a name they are
-- generation_enqueuer, generation_reader and generation_worker; one that does not exist is made, without a login, and
-- finds our tables without naming the schema (in this database). -v schema=… names another schema than generation.
--
--   enqueuer   calls enqueue_generation, enqueue_generations and cancel_generation, and sees no table
--   reader     reads all but what users have asked for (payload), the bytes of staged images, and secrets; changes
--              nothing
--   worker     does the worker's work, its HTTP API and its command line included; owns nothing, and can create,
--              empty or drop nothing, change no entry of the ledger or of the audit trail, and no job's request
--
-- Run it again after each generation-worker migrate, which the owner runs, too: what is new is granted then. There
-- are no default privileges on purpose, for what a later version brings may not be for everybody's eyes. Anything
-- else that these roles were granted on our tables and functions is taken away; nothing else in the database is
-- touched. A login: ALTER ROLE generation_worker LOGIN PASSWORD '…'
\set ON_ERROR_STOP on
\if :{?enqueuer}
\else
  \set enqueuer generation_enqueuer
\endif
\if :{?reader}
\else
  \set reader generation_reader
\endif
\if :{?worker}
\else
  \set worker generation_worker
\endif
\if :{?schema}
\else
  \set schema generation
\endif
\set tables 'generation_job, job_attempt, provider_call, staged_image, swept_upload, credit_account'
\set tables :tables ', credit_entry, fleet_setting, worker_process, provider_gate, maintenance_task'
\set tables :tables ', audit_event, api_token, api_token_pace, dashboard_session, webhook_endpoint'
\set tables :tables ', webhook_delivery, webhook_batch, generation_worker_version'
\set functions 'adjust_credits, cancel_generation, enqueue_generation, enqueue_generations, gate_count'
\set functions :functions ', gate_limit, gate_room_in, gate_stamp, gate_sum, gate_decisecond, gate_window'
\set functions :functions ', generation_is_a_moment, generation_length, generation_line_end, generation_pauses'
\set functions :functions ', generation_payload_problem, generation_price, generation_request_problem'
\set functions :functions ', generation_uuid, grant_credits, offer_providers, post_credits, refund_generation'
\set functions :functions ', refuse_change, refuse_change_of_history, refuse_change_of_request, refuse_delete'
\set functions :functions ', refuse_insert, refuse_payload, refuse_transition, refuse_truncate, write_breaker_delivery'
\set functions :functions ', write_job_deliveries, write_low_credits_delivery, webhook_body, webhook_moment'
BEGIN;
SELECT set_config('search_path', quote_ident(:'schema') || ', pg_catalog, pg_temp', true) \g /dev/null
SELECT ARRAY(SELECT name FROM unnest(ARRAY[:'enqueuer', :'reader', :'worker']) AS name
              WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name))::text AS new_roles \gset
SELECT format('CREATE ROLE %I NOLOGIN', name) FROM unnest(:'new_roles'::text[]) AS name \gexec
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', name, current_database(), :'schema')
  FROM unnest(:'new_roles'::text[]) AS name WHERE :'schema' <> 'public' \gexec

REVOKE ALL ON SCHEMA :"schema" FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON :tables FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON SEQUENCE audit_event_id_seq, webhook_batch_id_seq FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON FUNCTION :functions FROM :"enqueuer", :"reader", :"worker";
GRANT USAGE ON SCHEMA :"schema" TO :"enqueuer", :"reader", :"worker";

-- the enqueuer
GRANT EXECUTE ON FUNCTION enqueue_generation, enqueue_generations, cancel_generation TO :"enqueuer";

-- the reader
GRANT SELECT ON job_attempt, provider_call, credit_account, credit_entry, fleet_setting, worker_process, provider_gate,
  maintenance_task, audit_event, webhook_delivery, webhook_batch, swept_upload, generation_worker_version TO :"reader";
SELECT format('GRANT SELECT (%s) ON %s TO %I', string_agg(quote_ident(attname), ', '), attrelid::regclass, :'reader')
  FROM pg_attribute
 WHERE attnum > 0 AND NOT attisdropped
   AND (attrelid = 'generation_job'::regclass AND attname NOT IN ('payload', 'request_hash')
        OR attrelid = 'api_token'::regclass AND attname <> 'secret_hash'
        OR attrelid = 'webhook_endpoint'::regclass AND attname NOT IN ('secret', 'old_secret')
        OR attrelid = 'staged_image'::regclass AND attname <> 'bytes')
 GROUP BY attrelid \gexec
GRANT EXECUTE ON FUNCTION generation_price, generation_length, generation_pauses, gate_decisecond, gate_window,
  gate_sum, gate_room_in TO :"reader";

-- the worker
GRANT SELECT ON generation_job, job_attempt, provider_call, staged_image, credit_account, credit_entry, fleet_setting,
  worker_process, provider_gate, maintenance_task, audit_event, api_token, api_token_pace, dashboard_session,
  webhook_endpoint, webhook_delivery, webhook_batch, swept_upload, generation_worker_version TO :"worker";
GRANT INSERT ON job_attempt, provider_call, staged_image, credit_entry, fleet_setting, worker_process, provider_gate,
  audit_event, api_token, api_token_pace, dashboard_session, webhook_endpoint, webhook_delivery, swept_upload
  TO :"worker";
GRANT UPDATE ON provider_call, staged_image, fleet_setting, worker_process, provider_gate, maintenance_task,
  api_token_pace, webhook_endpoint, webhook_delivery, webhook_batch TO :"worker";
GRANT UPDATE (revoked_at, last_used_at) ON api_token TO :"worker";
GRANT UPDATE (balance, entries) ON credit_account TO :"worker";
SELECT format('GRANT UPDATE (%s) ON %s TO %I', string_agg(quote_ident(attname), ', '), attrelid::regclass, :'worker')
  FROM pg_attribute
 WHERE attnum > 0 AND NOT attisdropped AND attrelid = 'generation_job'::regclass
   AND attname NOT IN ('id', 'kind', 'user_id', 'payload', 'cost', 'idempotency_key', 'request_hash', 'batch_id',
     'batch_index', 'retry_of', 'traceparent', 'created_at')
 GROUP BY attrelid \gexec
GRANT DELETE ON generation_job, job_attempt, provider_call, staged_image, fleet_setting, worker_process, provider_gate,
  dashboard_session, webhook_endpoint, webhook_delivery, webhook_batch, swept_upload TO :"worker";
GRANT EXECUTE ON FUNCTION enqueue_generation, enqueue_generations, cancel_generation, grant_credits, adjust_credits,
  offer_providers, generation_price, generation_length, generation_line_end, generation_pauses, gate_decisecond,
  gate_window, gate_sum, gate_limit, gate_count, gate_stamp, gate_room_in, webhook_body,
  webhook_moment, generation_uuid TO :"worker";
COMMIT;
