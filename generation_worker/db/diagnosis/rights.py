"""Whether the role may do all that a worker does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from generation_worker.db.answers.server import Function, TableRights
from generation_worker.db.statements import load_statements
from generation_worker.domain.finding import Verdict, fault, ok, skipped

ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
FEWER: Mapping[str, Sequence[str]] = {
    "alembic_version": ("SELECT",),
    "api_token": ("SELECT", "INSERT", "UPDATE"),
    "api_token_pace": ("SELECT", "INSERT", "UPDATE"),
    "dashboard_session": ("SELECT", "INSERT", "DELETE"),
    "audit_event": ("SELECT", "INSERT"),
    "generation_job": ("SELECT", "UPDATE", "DELETE"),
    "job_attempt": ("SELECT", "INSERT", "DELETE"),
    "credit_account": ("SELECT", "UPDATE"),
    "credit_entry": ("SELECT", "INSERT"),
    "maintenance_task": ("SELECT", "UPDATE"),
    "swept_upload": ("SELECT", "INSERT", "DELETE"),
    "webhook_batch": ("SELECT", "UPDATE", "DELETE"),
}
"""What a worker needs where it does not need all. Enqueueing and granting are functions with rights of their own."""


def our_tables() -> list[str]:
    """The names of all tables, the one of the revision included."""
    from generation_worker.db.schema import metadata  # noqa: PLC0415 - SQLAlchemy takes a third of a second

    return sorted([*metadata.tables, "alembic_version"])


def needed_functions(functions: Sequence[Function]) -> list[Function]:
    """Those of ``functions`` that a worker's statements call, and what these call in turn."""
    statements = [*load_statements("queries").values(), *load_statements("courier").values()]
    called = _words(b"\n".join(statements).decode())
    needed: dict[str, Function] = {}
    while new := [one for one in functions if one.name in called and one.name not in needed]:
        needed |= {one.name: one for one in new}
        called |= {word for one in new if not one.definer for word in _words(one.source)}
    return sorted(needed.values())


def judge_rights(tables: Sequence[TableRights], functions: Sequence[Function], role: str) -> Verdict:
    if not tables:
        return skipped("there are no tables yet")
    hidden = [table.name for table in tables if table.hidden]
    if hidden:
        return fault(
            f"row-level security hides rows of {', '.join(hidden)} from {role}: jobs are there and nobody sees them",
            f"ALTER TABLE {hidden[0]} DISABLE ROW LEVEL SECURITY, and so on; or connect as a role with BYPASSRLS",
        )
    missing = {table.name: lacks for table in tables if (lacks := _lacking(table))}
    closed = [function.name for function in needed_functions(functions) if not function.allowed]
    if missing or closed:
        told = [*(f"{name} ({', '.join(lacks)})" for name, lacks in missing.items()), *closed]
        return fault(f"{role} lacks rights on {', '.join(told)}", "; ".join(_grants(missing, closed, role)))
    owners = sorted({table.owner for table in tables if not table.owned})
    also = f"; to migrate, connect as {', '.join(owners)}" if owners else " and owns the tables"
    return ok(f"{role} may do all that a worker does{also}")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z_]+", text))


def _lacking(table: TableRights) -> list[str]:
    return [right for right in FEWER.get(table.name, ALL) if right not in table.rights]


def _grants(missing: Mapping[str, Iterable[str]], closed: Sequence[str], role: str) -> list[str]:
    """One statement for all tables that lack the same, and one for the functions."""
    together: dict[str, list[str]] = defaultdict(list)
    for name, lacks in missing.items():
        together[", ".join(lacks)].append(name)
    grants = [f'GRANT {rights} ON {", ".join(names)} TO "{role}"' for rights, names in together.items()]
    return [*grants, *([f'GRANT EXECUTE ON FUNCTION {", ".join(closed)} TO "{role}"'] if closed else [])]
