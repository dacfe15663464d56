"""``webhook``: endpoints of the app that are told of what happens, and what was sent to them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from generation_worker.cli.output import print_facts, print_json, print_table
from generation_worker.cli.shell import CommandFailed, Json, Limit, Reason, author, database, load, read_past

if TYPE_CHECKING:
    from generation_worker.db.insights import Insights
    from generation_worker.db.webhooks import SentMessage

app = typer.Typer(help="Tell the app by webhooks: endpoints, and what was sent to them.", no_args_is_help=True)

EndpointId = Annotated[UUID, typer.Argument(metavar="ID", help="The endpoint's id.")]
OneEndpoint = Annotated[UUID | None, typer.Option(help="Of one endpoint only.")]
COLUMNS = ("id", "state", "url", "events", "user", "waiting", "dead", "since", "reason")
SENT = ("id", "event", "status", "tries", "answer", "created", "next try", "error")
WAIT = 0.2


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the app takes the messages, by https.")],
    event: Annotated[
        list[str] | None, typer.Option(help="What it is told of; repeatable. By default all ends of jobs and batches.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="The only user whose jobs it is told of.")] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint and show its secret, this one time."""
    settings = load()
    with database(settings) as own, own.connection() as connection:
        from generation_worker.db.webhooks import create_endpoint  # noqa: PLC0415 - not for --help
        from generation_worker.domain.webhook import USUAL  # noqa: PLC0415

        made = create_endpoint(
            connection,
            url,
            event or USUAL,
            user_id=user,
            allow_private=settings.webhook_allow_private,
            by=author(reason),
        )
    _show_secret(made.id, made.secret, as_json=as_json)


@app.command("list")
def list_(limit: Limit = 100, as_json: Json = False) -> None:
    """List the endpoints, those in trouble first, and how it goes."""
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help

        found = Insights(own).webhook_endpoints(limit=limit)
    if as_json:
        print_json({"endpoints": found})
        return
    rows = [[e.id, e.state, e.url, " ".join(e.events), e.user_id, e.waiting, e.dead, e.since, e.reason] for e in found]
    print_table(COLUMNS, rows)
    if not found:
        typer.echo("There is no endpoint: nobody is told anything. See generation-worker webhook add --help")


@app.command("rotate")
def rotate(
    endpoint: EndpointId,
    keep: Annotated[str, typer.Option(help="How long the old secret signs as well; 0s: no longer.")] = "24h",
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make a new secret and show it, this one time."""
    lasts = _read_span(keep)
    with database() as own, own.connection() as connection:
        from generation_worker.db.webhooks import rotate_secret  # noqa: PLC0415 - not for --help

        secret = rotate_secret(connection, endpoint, keep=lasts, by=author(reason))
    _show_secret(endpoint, secret, as_json=as_json)


@app.command("disable")
def disable(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Tell it nothing any more; what waits for it goes on waiting."""
    _change(endpoint, "disabled", reason, as_json=as_json)


@app.command("enable")
def enable(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Tell it again, first what has waited for it."""
    _change(endpoint, "enabled", reason, as_json=as_json)


@app.command("remove")
def remove(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Forget an endpoint, and what waits for it."""
    _change(endpoint, "removed", reason, as_json=as_json)


@app.command("test")
def send_test_message(
    endpoint: EndpointId,
    wait: Annotated[str, typer.Option(help="How long to wait for a worker and the answer; 0s: not at all.")] = "20s",
    reason: Reason = None,
    as_json: Json = False,
) -> int:
    """Have a worker send a test message, and say what came of it."""
    seconds = _read_span(wait)
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help
        from generation_worker.db.webhooks import send_test  # noqa: PLC0415

        with own.connection() as connection:
            delivery = send_test(connection, endpoint, by=author(reason))
        sent = _first_try(Insights(own), delivery, seconds)
    if as_json:
        print_json(sent)
    else:
        typer.echo(f"{sent.id}  {_outcome(sent)}")
    return 0 if sent.status == "delivered" or not seconds else 1


@app.command("deliveries")
def deliveries(
    endpoint: OneEndpoint = None,
    job: Annotated[UUID | None, typer.Option(help="Of one job only.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those whose last try went wrong.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List messages, the latest first, with what came of them."""
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help

        found = Insights(own).webhook_deliveries(endpoint=endpoint, job=job, failed=failed, limit=limit)
    if as_json:
        print_json({"deliveries": found})
        return
    rows = [[d.id, d.event, d.status, d.attempts, d.last_status, d.created_at, d.next_at, d.last_error] for d in found]
    print_table(SENT, rows)


@app.command("replay")
def replay(
    delivery: Annotated[UUID | None, typer.Argument(metavar="[DELIVERY]", help="The delivery's id.")] = None,
    since: Annotated[
        str | None, typer.Option(help="All that were given up since 2030-01-31T12:00:00Z, or -1h from now.")
    ] = None,
    endpoint: OneEndpoint = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Send a message once more, with its id and its body; or all that were given up since some time."""
    if (delivery is None) == (since is None):
        raise typer.BadParameter("name either one delivery or --since")
    moment = read_past(since) if since else None
    with database() as own, own.connection() as connection:
        from generation_worker.db.webhooks import replay_delivery, replay_since  # noqa: PLC0415 - not for --help

        if delivery is not None:
            replay_delivery(connection, delivery, by=author(reason))
            number = 1
        else:
            assert moment is not None
            number = replay_since(connection, moment, endpoint=endpoint, by=author(reason))
    if as_json:
        print_json({"replayed": number})
    else:
        typer.echo(f"{number} to be sent again")


def _first_try(insights: Insights, delivery: UUID, seconds: float) -> SentMessage:
    """The message after its first try, or as it is when the time is over. Raises CommandFailed if nobody sends it."""
    until = time.monotonic() + seconds
    while True:
        [sent] = insights.webhook_deliveries(delivery=delivery)
        if sent.status != "pending" or sent.last_error is not None or not seconds:
            return sent
        if time.monotonic() >= until:
            raise CommandFailed(
                "not_sent", f"Nobody has sent {delivery} within {timedelta(seconds=seconds)}.", "Is a worker running?"
            )
        time.sleep(WAIT)


def _outcome(sent: SentMessage) -> str:
    if sent.status == "delivered":
        return f"delivered, status {sent.last_status}"
    return f"failed: {sent.last_error}" if sent.last_error else "to be sent"


def _read_span(value: str) -> float:
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

    try:
        seconds = parse_duration(value)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= 365 * 86_400:
        raise typer.BadParameter(f"{value!r} is no span of time such as 24h")
    return seconds


def _show_secret(endpoint: UUID, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": endpoint, "secret": secret})
        return
    print_facts([("id", endpoint), ("secret", secret)])
    typer.echo("Keep the secret now: it is not shown again. The app verifies with it who sends.")


def _change(
    endpoint: UUID, state: Literal["disabled", "enabled", "removed"], reason: str | None, *, as_json: bool
) -> None:
    with database() as own, own.connection() as connection:
        from generation_worker.db import webhooks  # noqa: PLC0415 - not for --help

        changes = {
            "disabled": webhooks.disable_endpoint,
            "enabled": webhooks.enable_endpoint,
            "removed": webhooks.remove_endpoint,
        }
        changes[state](connection, endpoint, by=author(reason))
    if as_json:
        print_json({"id": endpoint, "state": state})
    else:
        typer.echo(f"{endpoint}  {state}")
