-- For how long the oldest snapshot of this database has been held open, by a transaction or a prepared one: as long as it is,
-- no dead row that came after it can be removed, and every claim walks over more of them. A role sees the sessions of its own
-- role, and all of them as a member of pg_monitor.
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 AS seconds
  FROM (SELECT xact_start AS since FROM pg_stat_activity
         WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        UNION ALL
        SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS held
