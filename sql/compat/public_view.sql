-- CHANGES THE SCHEMA PUBLIC
-- Optional: a view public.generation_job, for people and apps that cannot name a schema or set a search path. Run it as
-- the owner of the tables, after each generation-worker migrate; DROP VIEW public.generation_job takes it away again.
--
-- It shows the queue's jobs to read. From PostgreSQL 15 on it gives nobody more than they have on the table itself
-- (security_invoker). Before 15 a view reads with the rights of its owner: everybody who is granted SELECT on it sees
-- all jobs, prompts included. Nobody is granted anything here; what default privileges granted when the view was made
-- (Supabase's: everything, to anon) is taken away.
BEGIN;
CREATE OR REPLACE VIEW public.generation_job AS SELECT * FROM generation.generation_job;
DO $$
DECLARE
  others text;
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW public.generation_job SET (security_invoker = true);
  END IF;
  SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ') INTO others
    FROM pg_class c, aclexplode(c.relacl) a
   WHERE c.oid = 'public.generation_job'::regclass AND a.grantee <> c.relowner AND NOT EXISTS (
     SELECT FROM pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass);
  IF others IS NOT NULL THEN
    EXECUTE 'REVOKE ALL ON public.generation_job FROM ' || others;
  END IF;
END $$;
-- The comment says that what is granted from here on was granted on purpose.
COMMENT ON VIEW public.generation_job IS 'The jobs of generation-worker, see sql/compat/public_view.sql.';
COMMIT;
