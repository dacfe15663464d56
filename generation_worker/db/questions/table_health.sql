-- How many rows of each of our tables are dead, and whether and when somebody sweeps them away. Numbers are the
-- statistics': close, and free.
SELECT c.relname::text AS name, coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead,
       greatest(s.last_autovacuum, s.last_vacuum) AS vacuumed_at,
       coalesce((SELECT option_value::bool FROM pg_options_to_table(c.reloptions)
                  WHERE option_name = 'autovacuum_enabled'), true) AS autovacuum,
       pg_total_relation_size(c.oid)::float8 AS bytes
  FROM unnest(%(tables)s::text[]) AS t (name) JOIN pg_class c ON c.oid = to_regclass(quote_ident(t.name))
  LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 ORDER BY dead DESC, c.relname
