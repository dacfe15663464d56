-- What the current role may do with each of our tables that are there, be it an update of some columns only; hidden: row-level
-- security keeps rows from it.
SELECT t.name, pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS owned,
       row_security_active(c.oid) AS hidden,
       ARRAY(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r
              WHERE CASE r WHEN 'UPDATE' THEN has_any_column_privilege(c.oid, r) ELSE has_table_privilege(c.oid, r) END)
         AS rights
  FROM unnest(%(tables)s::text[]) AS t (name) JOIN pg_class c ON c.oid = to_regclass(quote_ident(t.name))
 ORDER BY t.name
