-- The functions beside our tables, what they are made of, and whether the current role may call them. A definer's function
-- calls others with the rights of its owner.
SELECT p.proname::text AS name, p.prosrc AS source, p.prosecdef AS definer, has_function_privilege(p.oid, 'EXECUTE') AS allowed
  FROM pg_proc p
 WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('generation_job')) AND p.prokind = 'f'
 ORDER BY p.proname
