"""Writes sql/ledger_check.sql, the invariants for psql: `python -m tests.generate_ledger_check [--check]`.

With --check it writes nothing, and exits with 1 if the page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from generation_worker.db.statements import PREFIX, names_in, statement_sources

PAGE = Path(__file__).parents[1] / "sql" / "ledger_check.sql"
HEAD = r"""-- READS ONLY
-- What must hold at any moment, all in one look: no row means that accounts, jobs, attempts and calls agree. Each row
-- names what does not hold and the offender; what to do stands in the comment above that part. Generated from what
-- `generation-worker credits audit` asks.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
\if :{?max_paid_calls}
\else
  \set max_paid_calls 2
\endif
"""
PART = """SELECT '{name}' AS invariant, to_jsonb(broken) AS offender FROM (
{query}
) AS broken
"""


def fresh_page() -> str:
    """The text that sql/ledger_check.sql should have."""
    parts = [PART.format(name=name, query=_for_psql(statement_sources()[name])) for name in sorted(names_in("ledger"))]
    return HEAD + "UNION ALL\n".join(parts) + "ORDER BY invariant;\n"


def main() -> int:
    fresh = fresh_page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text() == fresh else 1
    PAGE.write_text(fresh)
    return 0


def _for_psql(query: str) -> str:
    whole = PREFIX.sub("", query).strip().removesuffix("LIMIT %(most)s").rstrip()
    return whole.replace("%(max_paid_calls)s", ":max_paid_calls").replace("%%", "%")


if __name__ == "__main__":
    sys.exit(main())
