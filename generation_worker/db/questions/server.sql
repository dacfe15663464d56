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
