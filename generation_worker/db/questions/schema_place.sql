-- Where this role finds our tables and which revision they are at, and the schemas that have tables of their name.
SELECT current_user AS role, current_schema()::text AS schema, current_setting('search_path') AS search_path,
       to_regclass('generation_job')::text AS job_table, to_regclass('alembic_version') IS NOT NULL AS has_revision,
       ARRAY(SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relname = 'generation_job' AND c.relkind = 'r' ORDER BY 1) AS schemas
