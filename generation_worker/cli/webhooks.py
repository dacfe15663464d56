"""``webhook``: endpoints of the app that receive events, and the deliveries to them."""

import time
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

import typer

from generation_worker.cli.output import print_facts, print_json, print_table
from generation_worker.cli.shell import CommandFailed, Json, Limit, Reason, author, database, load, read_past
from generation_worker.config import parse_duration
from generation_worker.db import webhooks
from generation_worker.db.query import Queries
from generation_worker.db.webhooks import SentMessage
from generation_worker.domain.webhook import DEFAULT_EVENTS

app = typer.Typer(help="Webhooks to the app: endpoints, and what was sent to them.", no_args_is_help=True)

EndpointId = Annotated[UUID, typer.Argument(metavar="ID", help="The endpoint's id.")]
OneEndpoint = Annotated[UUID | None, typer.Option(help="Of one endpoint only.")]
COLUMNS = ("id", "state", "url", "events", "user", "waiting", "dead", "since", "reason")
SENT = ("id", "event", "status", "tries", "answer", "created", "next try", "error")
WAIT = 0.2


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="The app's URL for the messages, with https.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="An event that it receives; repeatable. By default all ends of jobs and batches."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only events of this user's jobs.")] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint and show its secret, this one time."""
    settings = load()
    with database(settings) as queries:
        made = webhooks.create_endpoint(
            queries,
            url,
            event or DEFAULT_EVENTS,
            user_id=user,
            allow_private=settings.webhook_allow_private,
            by=author(reason),
        )
    _show_secret(made.id, made.secret, as_json=as_json)


@app.command("list")
def list_(limit: Limit = 100, as_json: Json = False) -> None:
    """List the endpoints and their state, disabled and failing ones first."""
    with database() as queries:
        found = webhooks.list_endpoints(queries, limit=limit)
    if as_json:
        print_json({"endpoints": found})
        return
    rows = [[e.id, e.state, e.url, " ".join(e.events), e.user_id, e.waiting, e.dead, e.since, e.reason] for e in found]
    print_table(COLUMNS, rows)
    if not found:
        typer.echo("There is no endpoint: no webhook is sent. See generation-worker webhook add --help")


@app.command("rotate")
def rotate(
    endpoint: EndpointId,
    keep: Annotated[str, typer.Option(help="How long the old secret also signs; 0s: not at all.")] = "24h",
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make a new secret and show it, this one time."""
    lasts = _read_duration(keep)
    with database() as queries:
        secret = webhooks.rotate_secret(queries, endpoint, keep=lasts, by=author(reason))
    _show_secret(endpoint, secret, as_json=as_json)


@app.command("disable")
def disable(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Send nothing to it until it is enabled; its pending messages stay."""
    _change(endpoint, "disabled", reason, as_json=as_json)


@app.command("enable")
def enable(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Send to it again, its pending messages first."""
    _change(endpoint, "enabled", reason, as_json=as_json)


@app.command("remove")
def remove(endpoint: EndpointId, reason: Reason = None, as_json: Json = False) -> None:
    """Delete an endpoint with its pending messages."""
    _change(endpoint, "removed", reason, as_json=as_json)


@app.command("test")
def send_test_message(
    endpoint: EndpointId,
    wait: Annotated[str, typer.Option(help="How long to wait for a worker and the response; 0s: not at all.")] = "20s",
    reason: Reason = None,
    as_json: Json = False,
) -> int:
    """Have a worker send a test message, and print the result."""
    seconds = _read_duration(wait)
    with database() as queries:
        delivery = webhooks.send_test(queries, endpoint, by=author(reason))
        sent = _wait_for_first_try(queries, delivery, seconds)
    if as_json:
        print_json(sent)
    else:
        typer.echo(f"{sent.id}  {_outcome(sent)}")
    return 0 if sent.status == "delivered" or not seconds else 1


@app.command("deliveries")
def deliveries(
    endpoint: OneEndpoint = None,
    job: Annotated[UUID | None, typer.Option(help="Of one job only.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those whose last try failed.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List messages and their results, the latest first."""
    with database() as queries:
        found = webhooks.list_deliveries(queries, endpoint=endpoint, job=job, failed=failed, limit=limit)
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
    with database() as queries:
        if delivery is not None:
            webhooks.replay_delivery(queries, delivery, by=author(reason))
            number = 1
        else:
            assert moment is not None
            number = webhooks.replay_since(queries, moment, endpoint=endpoint, by=author(reason))
    if as_json:
        print_json({"replayed": number})
    else:
        typer.echo(f"{number} to be sent again")


def _wait_for_first_try(queries: Queries, delivery: UUID, seconds: float) -> SentMessage:
    """The message after its first try; with 0 seconds as it is now. Raises CommandFailed if no worker sends it."""
    until = time.monotonic() + seconds
    while True:
        sent = webhooks.find_delivery(queries, delivery)
        assert sent is not None
        if sent.status != "pending" or sent.last_error is not None or not seconds:
            return sent
        if time.monotonic() >= until:
            raise CommandFailed(
                "not_sent",
                f"No worker has sent {delivery} within {timedelta(seconds=seconds)}.",
                "Is a worker running?",
            )
        time.sleep(WAIT)


def _outcome(sent: SentMessage) -> str:
    if sent.status == "delivered":
        return f"delivered, status {sent.last_status}"
    return f"failed: {sent.last_error}" if sent.last_error else "to be sent"


def _read_duration(value: str) -> float:
    try:
        seconds = parse_duration(value)
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= 365 * 86_400:
        raise typer.BadParameter(f"{value!r} is not a duration such as 24h")
    return seconds


def _show_secret(endpoint: UUID, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": endpoint, "secret": secret})
        return
    print_facts([("id", endpoint), ("secret", secret)])
    typer.echo("Store the secret now: it is not shown again. The app verifies signatures with it.")


def _change(
    endpoint: UUID, state: Literal["disabled", "enabled", "removed"], reason: str | None, *, as_json: bool
) -> None:
    changes = {
        "disabled": webhooks.disable_endpoint,
        "enabled": webhooks.enable_endpoint,
        "removed": webhooks.remove_endpoint,
    }
    with database() as queries:
        changes[state](queries, endpoint, by=author(reason))
    if as_json:
        print_json({"id": endpoint, "state": state})
    else:
        typer.echo(f"{endpoint}  {state}")
