-- What `generation-worker migrate` asks and does around Alembic's migrations, in the same transaction.

-- name: prepare_migration
-- The migrations name everything of ours in full; with this path no object of another schema can stand in for one of
-- PostgreSQL's own. A migration may take long; it must not wait long.
SELECT set_config('search_path', 'pg_catalog, pg_temp', true), set_config('statement_timeout', '0', true),
       set_config('lock_timeout', %(lock_timeout)s, true)

-- name: lock_migrations
-- One migration at a time of one installation. It ends with the transaction, so it works through a transaction pooler.
SELECT pg_advisory_xact_lock(hashtextextended('generation.migrations', 0))

-- name: current_revision
-- The revision that the database is at.
SELECT version_num FROM generation.generation_worker_version

-- name: migration_target
-- What stands where the tables are to be, before anything is changed.
--   owned          the current role is its owner
--   migrated       our version table is there
--   objects        all other objects in the schema, by name
--   earlier        schemas in which a version from before 0.1.0 has left its tables
WITH target AS (
  SELECT n.oid, n.nspowner FROM (VALUES (1)) AS one LEFT JOIN pg_namespace n ON n.nspname = %(schema)s
), object AS (
  SELECT relnamespace AS namespace, relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
  UNION
  SELECT pronamespace, proname::text FROM pg_proc
  UNION
  SELECT typnamespace, typname::text FROM pg_type WHERE typtype IN ('d', 'e', 'r')
)
SELECT target.oid IS NOT NULL AS present, pg_get_userbyid(target.nspowner)::text AS owner, current_user::text AS role,
       coalesce(target.nspowner = current_user::regrole, false) AS owned,
       EXISTS (SELECT FROM object o WHERE o.namespace = target.oid AND o.name = 'generation_worker_version') AS migrated,
       ARRAY(SELECT DISTINCT o.name FROM object o WHERE o.namespace = target.oid ORDER BY o.name) AS objects,
       ARRAY(SELECT n.nspname::text FROM pg_namespace n
              WHERE (SELECT count(DISTINCT o.name) FROM object o WHERE o.namespace = n.oid
                        AND o.name IN ('generation_job', 'worker_process', 'maintenance_task', 'alembic_version')) = 4
                AND NOT EXISTS (SELECT FROM object o WHERE o.namespace = n.oid AND o.name = 'generation_worker_version')
              ORDER BY n.nspname) AS earlier
  FROM target

-- name: create_schema
-- The schema, and nobody's but the owner's: default privileges may have granted it to others. The comment says that it is
-- ours to drop.
DO $$
DECLARE
  name CONSTANT text := split_part('generation.', '.', 1);
  others text;
BEGIN
  EXECUTE 'CREATE SCHEMA ' || name;
  EXECUTE 'COMMENT ON SCHEMA ' || name || ' IS ''Made by generation-worker migrate.''';
  SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ') INTO others
    FROM pg_namespace n, aclexplode(n.nspacl) a
   WHERE n.oid = name::regnamespace AND a.grantee <> n.nspowner;
  IF others IS NOT NULL THEN
    EXECUTE 'REVOKE ALL ON SCHEMA ' || name || ' FROM ' || others || ' CASCADE';
  END IF;
END $$

-- name: list_objects
-- The objects of the schema before the migrations: whatever an operator has granted on them stays.
SELECT coalesce(array_agg(object), '{}') AS objects
  FROM (SELECT relnamespace AS namespace, 'class ' || oid AS object FROM pg_class
        UNION ALL SELECT pronamespace, 'routine ' || oid FROM pg_proc
        UNION ALL SELECT typnamespace, 'type ' || oid FROM pg_type) AS each
  JOIN pg_namespace n ON n.oid = each.namespace AND n.nspname = %(schema)s

-- name: revoke_defaults
-- The statements that take away what others than the owner may do with the objects that these migrations have made: what
-- PostgreSQL gives to everybody (functions, types) and what default privileges have granted (Supabase's: everything, to anon).
WITH object AS (
  SELECT 'class ' || c.oid AS object, c.relnamespace AS namespace, c.relowner AS owner,
         CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass AS target, c.relacl AS acl
    FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'routine ' || p.oid, p.pronamespace, p.proowner, 'ROUTINE ' || p.oid::regprocedure,
         coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p
  UNION ALL
  SELECT 'type ' || t.oid, t.typnamespace, t.typowner, 'TYPE ' || t.oid::regtype, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
   WHERE t.typtype IN ('d', 'e', 'r') OR t.typtype = 'c' AND c.relkind = 'c'
)
SELECT DISTINCT 'REVOKE ALL ON ' || o.target || ' FROM '
         || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' CASCADE' AS statement
  FROM object o
  JOIN pg_namespace n ON n.oid = o.namespace AND n.nspname = %(schema)s
 CROSS JOIN LATERAL aclexplode(o.acl) a
 WHERE a.grantee <> o.owner AND o.object <> ALL (%(existing)s)

-- name: drop_empty_schema
-- After the last downgrade: the version table, and the schema if we made it and nothing else is in it.
DO $$
DECLARE
  name CONSTANT text := split_part('generation.', '.', 1);
BEGIN
  IF to_regclass('generation.generation_worker_version') IS NOT NULL THEN
    IF EXISTS (SELECT FROM generation.generation_worker_version) THEN
      RETURN;
    END IF;
    DROP TABLE generation.generation_worker_version;
  END IF;
  IF obj_description(name::regnamespace, 'pg_namespace') = 'Made by generation-worker migrate.' THEN
    EXECUTE 'DROP SCHEMA ' || name;
  END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
  DROP TABLE IF EXISTS generation.generation_worker_version; -- the block was undone as a whole
END $$

-- name: lock_holders
-- The likely reason for a migration that waited for a table in vain: the oldest transactions that use one of ours.
SELECT format('process %%s (%%s, %%s) in a transaction since %%s: %%s', a.pid, a.usename, a.application_name,
              date_trunc('second', a.xact_start), left(regexp_replace(a.query, '\s+', ' ', 'g'), 80)) AS holder
  FROM pg_stat_activity a
 WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND EXISTS (
   SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid AND l.granted AND n.nspname = %(schema)s)
 ORDER BY a.xact_start LIMIT 3

-- name: valid_indexes
-- The indexes of the schema that are complete: one whose build was interrupted is not.
SELECT c.relname::text AS name
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND i.indisvalid

-- name: drop_invalid_index
-- Returns the statement that does it: a name cannot be a parameter, and CONCURRENTLY cannot be inside a function.
SELECT format('DROP INDEX CONCURRENTLY IF EXISTS generation.%%I', %(name)s::text) AS statement

-- name: release_snapshot
-- Sent without parameters, so as a simple query: a transaction whose last query had parameters keeps that query's snapshot, and
-- CREATE INDEX CONCURRENTLY waits for every older snapshot.
SELECT
