"""Looks at every row of a database, but for the few columns that are there to hold what is looked for."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.canaries.scanner import scanner

MEANT_TO = {
    "generation_job": ["payload"],  # what a user has asked for: the prompt, and inputs by links of their own
    "staged_image": ["bytes"],  # an image that is paid for and waits for the storage
    "webhook_endpoint": ["secret", "old_secret"],  # what a worker signs with: a hash of it could not
}
"""Columns by table that are not looked at, and why."""
MOST = 5000
"""Rows of one table. Tests that make more make them by one statement, all alike."""

LOOK = """
CREATE FUNCTION pg_temp.leaks(words text[], meant_to jsonb, most int) RETURNS TABLE (place text, line text)
LANGUAGE plpgsql SET lock_timeout = '30s' AS $$
BEGIN
  FOR place IN
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'as_new') AND n.nspname !~ '^pg_t'
       AND pg_relation_size(c.oid) > 0
  LOOP
    RETURN QUERY EXECUTE format(
      'SELECT %L, r.line FROM (SELECT (to_jsonb(t) - $1)::text FROM (SELECT * FROM %s LIMIT $2) t OFFSET 0) AS r (line)
        WHERE EXISTS (SELECT FROM unnest($3) AS word WHERE strpos(r.line, word) > 0)', place, place)
      USING ARRAY(SELECT jsonb_array_elements_text(coalesce(meant_to -> regexp_replace(place, '^.*\\.', ''), '[]'))),
        most, words;
  END LOOP;
END $$
"""


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Give this connection, which must be direct and autocommit, what `look_at_tables` asks for."""
    connection.execute("SET default_transaction_read_only = off")  # tests set what sessions begin with
    connection.execute(LOOK.encode())


def look_at_tables(connection: psycopg.Connection[Any]) -> None:
    """Look at all rows of its database. The database finds those worth a second look."""
    asked = (scanner.words("table"), Jsonb(MEANT_TO), MOST)
    scanner.looked["table"] += 1
    for place, line in connection.execute("SELECT * FROM pg_temp.leaks(%s, %s, %s)", asked).fetchall():
        scanner.look("table", place, line)
