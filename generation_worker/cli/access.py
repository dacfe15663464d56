"""``token``: keys of the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.output import print_facts, print_json, print_table
from generation_worker.cli.shell import CommandFailed, Json, Limit, Reason, author, database, read_past
from generation_worker.domain.token import LARGEST_BODY_KB

if TYPE_CHECKING:
    from generation_worker.db.access import NewToken, TokenRow

app = typer.Typer(help="Make keys of the HTTP API, list them, take them back.", no_args_is_help=True)
COLUMNS = ("id", "name", "scopes", "user", "limits", "state", "created", "expires", "last used")
NEVER = "never"

RequestsPerMinute = Annotated[
    int | None, typer.Option(min=1, max=1_000_000, help="By default API_REQUESTS_PER_MINUTE.")
]
MostWaiting = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="By default API_MOST_WAITING.")]
MaxBody = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=LARGEST_BODY_KB,
        metavar="KIB",
        help="By default API_MAX_BODY_KB; of JSON never more than 1024, of an image never more than UPLOAD_MAX_MB.",
    ),
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, for the record.")],
    scope: Annotated[list[str], typer.Option(help="What it allows: enqueue, read, operate or admin; repeatable.")],
    user: Annotated[str | None, typer.Option(help="The only user that it may see and act for.")] = None,
    expires: Annotated[str, typer.Option(help="How long it lasts, such as 90d, or never.")] = "365d",
    requests_per_minute: RequestsPerMinute = None,
    most_waiting: MostWaiting = None,
    max_body: MaxBody = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this one time."""
    lasts = _read_lasting(expires)
    with database() as own, own.connection() as connection:
        from generation_worker.db.access import create_token  # noqa: PLC0415 - not for --help

        made = create_token(
            connection,
            name,
            scope,
            user_id=user,
            lasts=lasts,
            requests_per_minute=requests_per_minute,
            most_waiting=most_waiting,
            max_body_kb=max_body,
            by=author(reason),
        )
    if as_json:
        print_json({"key": made.key, **made.token._asdict()})
    else:
        _show(made)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all keys that there have ever been, without their secrets."""
    with database() as own, own.connection() as connection:
        from generation_worker.db.access import list_tokens  # noqa: PLC0415 - not for --help

        found = list_tokens(connection)
    if as_json:
        print_json({"tokens": found})
        return
    rows = [
        [t.id, t.name, " ".join(t.scopes), t.user_id, _limits(t), t.state, t.created_at, t.expires_at, t.last_used_at]
        for t in found
    ]
    print_table(COLUMNS, rows)
    if not found:
        typer.echo("There is no key: the HTTP API answers on loopback only.")


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Take a key back: within a second it lets nobody in."""
    with database() as own, own.connection() as connection:
        from generation_worker.db.access import revoke_token  # noqa: PLC0415 - not for --help

        revoked = revoke_token(connection, token, by=author(reason))
    if revoked is None:
        raise CommandFailed("token_not_found", "There is no such key.", "See generation-worker token list")
    if as_json:
        print_json(revoked)
    else:
        typer.echo(f"{revoked.id}  {revoked.name}: revoked")


def _read_lasting(text: str) -> float | None:
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

    if text == NEVER:
        return None
    try:
        seconds = parse_duration(text)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 1 <= seconds <= 100 * 365 * 86_400:
        raise typer.BadParameter("must be a span of time such as 90d, or never", param_hint="--expires")
    return seconds


def _limits(token: TokenRow) -> str:
    """Those of its own; empty if it has none."""
    own = {
        "{} requests a minute": token.requests_per_minute,
        "{} waiting": token.most_waiting,
        "bodies of {} KiB": token.max_body_kb,
    }
    return ", ".join(text.format(limit) for text, limit in own.items() if limit is not None)


def _show(made: NewToken) -> None:
    token = made.token
    print_facts(
        [
            ("key", made.key),
            ("id", token.id),
            ("scopes", " ".join(token.scopes)),
            ("user", token.user_id or "every user"),
            ("limits", _limits(token) or "as the settings say"),
            ("expires", token.expires_at or NEVER),
        ]
    )
    typer.echo("Keep the key now: it is not stored and cannot be shown again.")


# ``audit``: what people and keys have changed.


if TYPE_CHECKING:
    from generation_worker.db.audit_trail import AuditEvent

AUDIT_COLUMNS = ("event", "at", "who", "did", "to", "before", "after", "reason")


def audit(
    actor: Annotated[str | None, typer.Option(help="Only whose name begins so: cli:ada, key:")] = None,
    action: Annotated[str | None, typer.Option(help="Only what begins so: job., credits.grant, pause")] = None,
    target: Annotated[
        str | None, typer.Option(help="Only to what begins so: job:01…, user:ada, setting:price.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME|-1h", help="Only from then on.")] = None,
    before: Annotated[int | None, typer.Option(metavar="EVENT", help="Only events before this one.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show what people and keys have changed, the latest first. (The books are checked by credits audit.)"""
    moment = read_past(since) if since else None
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help
        from generation_worker.db.query import LAST_EVENT  # noqa: PLC0415 - not for --help

        end = LAST_EVENT if before is None else before
        found = Insights(own).audit_events(
            actor=actor, action=action, target=target, since=moment, before=end, limit=limit
        )
    if as_json:
        print_json({"events": found, "before": found[-1].id if len(found) == limit else None})
    else:
        _show_events(found, limit)


def _show_events(found: list[AuditEvent], limit: int) -> None:
    rows = [[e.id, e.at, e.actor, e.action, e.target, e.before, e.after, e.reason] for e in found]
    print_table(AUDIT_COLUMNS, rows)
    if not found:
        typer.echo("Nothing was changed by anybody, as far as was asked.")
    if len(found) == limit:
        typer.echo(f"There may be more: --before {found[-1].id}")
