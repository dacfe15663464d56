-- CHANGES ROLES
-- Makes three roles, or brings them up to date, of which each may do what it needs and nothing else: psql -v
-- enqueuer=web_app -v reader=grafana -v worker=images -f roles.sql, as the owner of the tables. Without a name they are
-- generation_enqueuer, generation_reader and generation_worker; one that does not exist is made without a login.
--
--   enqueuer   calls enqueue_generation, enqueue_generations and cancel_generation, and sees no table
--   reader     reads all but what users have asked for (payload), the bytes of staged images, and secrets; changes
--              nothing
--   worker     does the worker's work, its HTTP API and its command line included; owns nothing, and can create,
--              empty or drop nothing, change no entry of the books or of the audit trail, and no job's request
--
-- Run it again after each generation-worker migrate, which the owner runs, too: what is new is granted then. There
-- are no default privileges on purpose, for what a later version brings may not be for everybody's eyes. Anything
-- else that these roles were granted in this schema is taken away. A login:
-- ALTER ROLE generation_worker LOGIN PASSWORD '…'
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
BEGIN;
SELECT format('CREATE ROLE %I NOLOGIN', name)
  FROM unnest(ARRAY[:'enqueuer', :'reader', :'worker']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT relnamespace::regnamespace AS schema FROM pg_class WHERE oid = 'generation_job'::regclass \gset

-- Before PostgreSQL 15 everybody may create tables in the schema public.
REVOKE CREATE ON SCHEMA :schema FROM PUBLIC;
REVOKE ALL ON SCHEMA :schema FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON ALL TABLES IN SCHEMA :schema FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA :schema FROM :"enqueuer", :"reader", :"worker";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM :"enqueuer", :"reader", :"worker";
GRANT USAGE ON SCHEMA :schema TO :"enqueuer", :"reader", :"worker";

-- the enqueuer
GRANT EXECUTE ON FUNCTION enqueue_generation, enqueue_generations, cancel_generation TO :"enqueuer";

-- the reader
GRANT SELECT ON job_attempt, provider_call, credit_account, credit_entry, fleet_setting, worker_process, provider_gate,
  maintenance_task, audit_event, webhook_delivery, webhook_batch, swept_upload, alembic_version TO :"reader";
SELECT format('GRANT SELECT (%s) ON %s TO %I', string_agg(quote_ident(attname), ', '), attrelid::regclass, :'reader')
  FROM pg_attribute
 WHERE attnum > 0 AND NOT attisdropped
   AND (attrelid = 'generation_job'::regclass AND attname NOT IN ('payload', 'request_hash')
        OR attrelid = 'api_token'::regclass AND attname <> 'secret_hash'
        OR attrelid = 'webhook_endpoint'::regclass AND attname NOT IN ('secret', 'old_secret')
        OR attrelid = 'staged_image'::regclass AND attname <> 'bytes')
 GROUP BY attrelid \gexec
GRANT EXECUTE ON FUNCTION generation_price, generation_length, generation_pauses, gate_tenth, gate_window, gate_sum,
  gate_room_in TO :"reader";

-- the worker
GRANT SELECT ON generation_job, job_attempt, provider_call, staged_image, credit_account, credit_entry, fleet_setting,
  worker_process, provider_gate, maintenance_task, audit_event, api_token, api_token_pace, dashboard_session,
  webhook_endpoint, webhook_delivery, webhook_batch, swept_upload, alembic_version TO :"worker";
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
  offer_providers, generation_price, generation_length, generation_line_end, generation_pauses, gate_tenth,
  gate_window, gate_sum, gate_limit, gate_count, gate_stamp, gate_room_in, webhook_body,
  webhook_moment, generation_uuid TO :"worker";
COMMIT;
