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
