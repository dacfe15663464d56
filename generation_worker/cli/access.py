"""``token``: API keys. ``audit``: the audit trail, which shows what people and keys have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.output import print_facts, print_json, print_table
from generation_worker.cli.shell import CommandFailed, Json, Limit, Reason, author, database, read_past
from generation_worker.domain.token import LARGEST_BODY_KB

if TYPE_CHECKING:
    from generation_worker.db.access import NewToken, TokenRow
    from generation_worker.db.audit_trail import AuditEvent

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
COLUMNS = ("id", "name", "scopes", "user", "limits", "state", "created", "expires", "last used")
AUDIT_COLUMNS = ("event", "at", "who", "did", "to", "before", "after", "reason")
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scope: Annotated[list[str], typer.Option(help="What it allows: enqueue, read, operate or admin; repeatable.")],
    user: Annotated[str | None, typer.Option(help="The only user whose data it may read and change.")] = None,
    expires: Annotated[str, typer.Option(help="How long it is valid, such as 90d, or never.")] = "365d",
    requests_per_minute: RequestsPerMinute = None,
    most_waiting: MostWaiting = None,
    max_body: MaxBody = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it once."""
    lasts = _read_validity(expires)
    with database() as queries:
        from generation_worker.db.access import create_token  # noqa: PLC0415 - not for --help

        made = create_token(
            queries,
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
    """List all keys, also revoked and expired ones, without their secrets."""
    with database() as queries:
        from generation_worker.db.access import list_tokens  # noqa: PLC0415 - not for --help

        found = list_tokens(queries)[::-1]  # the oldest first
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
    """Revoke a key: within a second no request with it is accepted."""
    with database() as queries:
        from generation_worker.db.access import revoke_token  # noqa: PLC0415 - not for --help

        revoked = revoke_token(queries, token, by=author(reason))
    if revoked is None:
        raise CommandFailed("token_not_found", "There is no such key.", "See generation-worker token list")
    if as_json:
        print_json(revoked)
    else:
        typer.echo(f"{revoked.id}  {revoked.name}: revoked")


def audit(
    actor: Annotated[str | None, typer.Option(help="Only by actors with this prefix: cli:ada, key:")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only actions with this prefix: job., credits.grant, pause")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Only targets with this prefix: job:01…, user:ada, setting:price.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME|-1h", help="Only from then on.")] = None,
    before: Annotated[int | None, typer.Option(metavar="EVENT", help="Only events before this one.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show what people and keys have changed, the latest first. (The ledger is checked by credits audit.)"""
    moment = read_past(since) if since else None
    with database() as queries:
        from generation_worker.db.audit_trail import list_events  # noqa: PLC0415 - not for --help

        found = list_events(
            queries, actor=actor, action=action, target=target, since=moment, before=before, limit=limit
        )
    if as_json:
        print_json({"events": found, "before": found[-1].id if len(found) == limit else None})
    else:
        _show_events(found, limit)


def _read_validity(text: str) -> float | None:
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

    if text == NEVER:
        return None
    try:
        seconds = parse_duration(text)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 1 <= seconds <= 100 * 365 * 86_400:
        raise typer.BadParameter("must be a duration such as 90d, or never", param_hint="--expires")
    return seconds


def _limits(token: TokenRow) -> str:
    """Its own limits; empty if it has none."""
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


def _show_events(found: list[AuditEvent], limit: int) -> None:
    rows = [[e.id, e.at, e.actor, e.action, e.target, e.before, e.after, e.reason] for e in found]
    print_table(AUDIT_COLUMNS, rows)
    if not found:
        typer.echo("No event matches.")
    if len(found) == limit:
        typer.echo(f"There may be more: --before {found[-1].id}")
