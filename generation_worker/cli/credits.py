"""``credits``: accounts and their entries, grants and corrections, and the check of the ledger."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from generation_worker.cli.output import print_facts, print_json, print_table, text
from generation_worker.cli.shell import FAILED, CommandFailed, Json, Key, Limit, Reason, User, author, database, load

if TYPE_CHECKING:
    from generation_worker.db.credits import Posting

app = typer.Typer(help="Grant and correct credits, show an account, check the ledger.", no_args_is_help=True)
COLUMNS = ("entry", "kind", "amount", "balance", "job", "reason", "by", "at")


@app.command("grant")
def grant(
    user: User,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", min=1, help="Credits.")],
    key: Key = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Give a user credits."""
    with database() as queries:
        from generation_worker.db.credits import post  # noqa: PLC0415 - not for --help

        posting = post(queries, "grant_credits", user, amount, key=key, by=author(reason))
    _show_posting(user, posting, as_json=as_json)


@app.command("adjust", context_settings={"ignore_unknown_options": True})
def adjust(
    user: User,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="Credits to add, or with a minus to take.")],
    key: Key = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Correct a user's balance, up or down, never below zero."""
    with database() as queries:
        from generation_worker.db.credits import post  # noqa: PLC0415 - not for --help

        posting = post(queries, "adjust_credits", user, amount, key=key, by=author(reason))
    _show_posting(user, posting, as_json=as_json)


@app.command("show")
def show(user: User, limit: Limit = 50, as_json: Json = False) -> None:
    """Show a user's balance and latest entries."""
    with database() as queries:
        from generation_worker.db.credits import find_account, list_entries  # noqa: PLC0415 - not for --help

        account = find_account(queries, user)
        entries = list_entries(queries, user, limit=limit)
    if account is None:
        remedy = f"Grant credits first: generation-worker credits grant {user} AMOUNT"
        raise CommandFailed("account_not_found", f"User {user} has no account.", remedy)
    if as_json:
        print_json({**account._asdict(), "latest_entries": entries})
        return
    print_facts([("user", account.user_id), ("balance", account.balance), ("waiting jobs will cost", account.waiting)])
    rows = [
        [e.seq, e.kind, f"{e.amount:+d}", e.balance_after, e.job_id, e.reason, e.actor, e.created_at] for e in entries
    ]
    print_table(COLUMNS, rows)


@app.command("audit")
def audit(as_json: Json = False) -> int:
    """Check that accounts, jobs and attempts agree with each other; fails if any row does not."""
    settings = load()
    with database(settings) as queries:
        from generation_worker.db.ledger import explain_invariant, find_violations  # noqa: PLC0415 - not for --help

        violations = find_violations(queries, max_paid_calls=settings.max_paid_calls)
    found = [
        {
            "invariant": violation.invariant,
            "row": dict(violation.row),
            "meaning": explain_invariant(violation.invariant),
        }
        for violation in violations
    ]
    if as_json:
        print_json({"violations": found})
    else:
        _show_violations(found)
    return FAILED if found else 0


def _show_violations(found: list[dict[str, Any]]) -> None:
    for invariant, group in groupby(found, key=lambda violation: violation["invariant"]):
        rows = list(group)
        typer.echo(f"{invariant}: {rows[0]['meaning']}")
        typer.echo("".join(f"  {text(row['row'])}\n" for row in rows))
    plural = "" if len(found) == 1 else "s"
    typer.echo(f"{len(found)} violation{plural}." if found else "The ledger is consistent.")


def _show_posting(user: str, posting: Posting, *, as_json: bool) -> None:
    if as_json:
        print_json({"user_id": user, **posting._asdict()})
        return
    again = "  (the key was used before; nothing was moved)" if posting.duplicate else ""
    typer.echo(f"{user} has {posting.balance} credits now{again}")
