-- What doctor, status and migrations ask of the server itself, and what connections say first.

-- name: server
-- What kind of server this is and how it is set up, as far as a queue and its books depend on it. Values of settings are
-- those that a session of this role begins with. identity is the same for two addresses of one database.
WITH setting AS (
  SELECT * FROM pg_settings WHERE name IN ('default_transaction_isolation', 'default_transaction_read_only', 'fsync',
    'full_page_writes', 'synchronous_commit', 'autovacuum', 'track_counts', 'statement_timeout', 'max_connections')
), initial AS (
  SELECT jsonb_object_agg(name, reset_val) AS value FROM setting
)
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
       d.datname AS database, current_user AS role, pg_is_in_recovery() AS replica,
       format('%%s %%s', d.oid, pg_postmaster_start_time()) AS identity,
       value ->> 'default_transaction_isolation' AS isolation,
       (value ->> 'default_transaction_read_only')::bool AS read_only,
       (value ->> 'fsync')::bool AND (value ->> 'full_page_writes')::bool AS keeps_files,
       value ->> 'synchronous_commit' <> 'off' AS keeps_commits,
       (value ->> 'autovacuum')::bool AND (value ->> 'track_counts')::bool AS autovacuum,
       (value ->> 'statement_timeout')::float8 / 1000 AS statement_timeout,
       (value ->> 'max_connections')::int AS max_connections,
       (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections,
       age(d.datfrozenxid) AS oldest_xid
  FROM initial, pg_database d WHERE d.datname = current_database()

-- name: table_health
-- How many rows of each of our tables are dead, and whether and when somebody sweeps them away. Numbers are the
-- statistics': close, and free.
SELECT c.relname::text AS name, coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead,
       greatest(s.last_autovacuum, s.last_vacuum) AS vacuumed_at,
       coalesce((SELECT option_value::bool FROM pg_options_to_table(c.reloptions)
                  WHERE option_name = 'autovacuum_enabled'), true) AS autovacuum,
       pg_total_relation_size(c.oid)::float8 AS bytes
  FROM unnest(%(tables)s::text[]) AS t (name)
  JOIN pg_class c ON c.relname = t.name
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
  LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 ORDER BY dead DESC, c.relname

-- name: table_rights
-- What the current role may do with each of our tables that are there, be it an update of some columns only; hidden: row-level
-- security keeps rows from it.
SELECT t.name, pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS owned,
       row_security_active(c.oid) AS hidden,
       ARRAY(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r
              WHERE CASE r WHEN 'UPDATE' THEN has_any_column_privilege(c.oid, r) ELSE has_table_privilege(c.oid, r) END)
         AS rights
  FROM unnest(%(tables)s::text[]) AS t (name)
  JOIN pg_class c ON c.relname = t.name
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
 ORDER BY t.name

-- name: functions
-- The functions beside our tables, what they are made of, and whether the current role may call them. A definer's function
-- calls others with the rights of its owner.
SELECT p.proname::text AS name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS source, p.prosecdef AS definer,
       has_function_privilege(p.oid, 'EXECUTE') AS allowed
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = %(schema)s
 WHERE p.prokind = 'f'
 ORDER BY p.proname

-- name: vacuum_holders
-- Who keeps vacuum from removing dead rows of this database, the oldest first: transactions, prepared transactions and
-- replication slots. Times and queries of other roles are only seen by who may (pg_read_all_stats). What a query says in
-- quotes is left out: it may be a secret.
SELECT 'transaction' AS kind, pid::text AS name, application_name AS application, usename::text AS role, state,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds, query_start AS since,
       left(regexp_replace(regexp_replace(query, '''([^'']|'''')*(''|$)|\$\w*\$.*$', '…', 'g'), '\s+', ' ', 'g'), 80) AS query,
       greatest(age(backend_xmin), age(backend_xid)) AS transactions, NULL::float8 AS kept_bytes
  FROM pg_stat_activity
 WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
   AND (datid IS NULL OR datname = current_database())
   AND coalesce(backend_type, '') NOT LIKE 'autovacuum%%' AND query !~* '^\s*vacuum'
UNION ALL
SELECT 'prepared transaction', gid, NULL, owner::text, NULL,
       extract(epoch FROM clock_timestamp() - prepared)::float8, prepared, NULL, age(transaction), NULL
  FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'replication slot', slot_name, plugin, NULL, CASE WHEN active THEN 'active' ELSE 'inactive' END,
       NULL, NULL, NULL, age(xmin),
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 END
  FROM pg_replication_slots WHERE xmin IS NOT NULL OR NOT active
 ORDER BY seconds DESC NULLS LAST, transactions DESC NULLS LAST LIMIT %(limit)s

-- name: oldest_snapshot
-- For how long the oldest snapshot of this database has been held open, by a transaction or a prepared one: as long as it is,
-- no dead row that came after it can be removed, and every claim walks over more of them. A role sees the sessions of its own
-- role, and all of them as a member of pg_monitor.
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 AS seconds
  FROM (SELECT xact_start AS since FROM pg_stat_activity
         WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        UNION ALL
        SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS held

-- name: schema_place
-- Whether this role can reach our tables, and in which other schemas there are tables of their name.
SELECT current_user::text AS role, n.oid IS NOT NULL AS present, coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable,
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'generation_job') AS has_tables,
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'generation_worker_version') AS has_revision,
       ARRAY(SELECT other.nspname::text FROM pg_class c JOIN pg_namespace other ON other.oid = c.relnamespace
              WHERE c.relname = 'generation_job' AND c.relkind = 'r' AND other.nspname <> %(schema)s
                AND EXISTS (SELECT FROM pg_class v WHERE v.relnamespace = other.oid AND v.relname = 'generation_worker_version')
              ORDER BY 1) AS elsewhere
  FROM (VALUES (1)) AS one LEFT JOIN pg_namespace n ON n.nspname = %(schema)s

-- name: open_doors
-- What everybody (PUBLIC), or a role that stands for everybody (Supabase's anon and authenticated), may do with our objects.
-- In the schema public everybody may name objects, so there only tables and functions count.
WITH role AS (
  SELECT 'public' AS name UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
), place AS (
  SELECT oid, nspname FROM pg_namespace WHERE nspname = %(schema)s
)
SELECT CASE role.name WHEN 'public' THEN 'everybody' ELSE role.name END AS role, 'use the schema' AS may, nspname::text AS object
  FROM role, place WHERE nspname <> 'public' AND has_schema_privilege(role.name, place.oid, 'USAGE')
UNION ALL
SELECT CASE role.name WHEN 'public' THEN 'everybody' ELSE role.name END,
       CASE WHEN has_any_column_privilege(role.name, c.oid, 'SELECT') THEN 'read' ELSE 'write' END, c.relname
  FROM role, place JOIN pg_class c ON c.relnamespace = place.oid AND c.relkind IN ('r', 'p', 'v', 'm')
 WHERE c.relname = ANY (%(tables)s)
   AND (has_any_column_privilege(role.name, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(role.name, c.oid, 'DELETE, TRUNCATE'))
UNION ALL
SELECT CASE role.name WHEN 'public' THEN 'everybody' ELSE role.name END, 'call', p.proname
  FROM role, place JOIN pg_proc p ON p.pronamespace = place.oid
 WHERE p.proname = ANY (%(functions)s) AND has_function_privilege(role.name, p.oid, 'EXECUTE')
 ORDER BY role, may, object

-- name: server_time
SELECT clock_timestamp() AS now

-- name: round_trip
-- The server's clock, in seconds; it also measures how far away the server is.
SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds

-- name: backend
-- The server process that answers: behind a transaction pooler it changes.
SELECT pg_backend_pid() AS pid

-- name: readiness
-- Whether a worker can work on this server.
SELECT pg_is_in_recovery() AS replica, current_setting('default_transaction_isolation') AS isolation

-- name: set_for_session
-- Sets settings of the server for a session of our own.
SELECT set_config(name, value, false) FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)

-- name: set_for_transaction
-- The same until the end of the transaction.
SELECT set_config(name, value, true) FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)

-- name: one_snapshot
-- All of the transaction's statements see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
